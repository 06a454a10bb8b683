"""Comma-separated text as bytes plus numbers, see number_text.py."""

import codecs
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posefix_track.errors import InputError
from posefix_track.formats.number_text import PLAIN_NUMBER, NumberText


def parse_csv(path: Path, data: bytes) -> NumberText:
    """Lines of cells: a cell is the ordinal of its number, or else its text; an empty cell is the number NaN.

    Raises InputError where a quote is not closed in its line.
    """
    numbers, spans, tree = array("d"), array("q"), []
    start = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    for line_number, line in enumerate(data[start:].splitlines(keepends=True), start=1):
        row: list[int | str] = []
        for first, cell in _cells(path, line, line_number) if line.strip() else ():
            if not cell or PLAIN_NUMBER.fullmatch(cell):
                row.append(len(numbers))
                numbers.append(float(cell) if cell else np.nan)
                spans.extend((start + first, start + first + len(cell)))
            else:
                row.append(cell.decode("utf-8", "surrogateescape").replace('""', '"'))
        tree += [(line_number, row)] if row else []
        start += len(line)
    return NumberText(path, data, tree, np.array(numbers), np.array(spans, dtype=np.int64).reshape(-1, 2))


def cell_text(text: NumberText, cell: int | str) -> str:
    """The cell's text, whether or not it looks like a number."""
    return cell if isinstance(cell, str) else text.token(cell).decode()


def _cells(path: Path, line: bytes, line_number: int) -> Iterator[tuple[int, bytes]]:
    """First byte and content of each cell, without white space and quotes around."""
    quotes, start, end = 0, 0, -1
    for piece in line.rstrip(b"\r\n").split(b","):
        quotes += piece.count(b'"')
        end += 1 + len(piece)
        # A comma within quotes is part of the cell.
        if quotes % 2 == 0:
            yield _bare(start, line[start:end])
            start = end + 1
    if quotes % 2:
        raise InputError(f"{path}: line {line_number}: a quote is not closed; is the file cut short?")


def _bare(start: int, cell: bytes) -> tuple[int, bytes]:
    bare = cell.strip()
    start += len(cell) - len(cell.lstrip()) if bare else 0
    if len(bare) >= 2 and bare[:1] == bare[-1:] == b'"':
        return start + 1, bare[1:-1]
    return start, bare

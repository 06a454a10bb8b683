"""Comma-separated text as bytes plus numbers, see number_text.py."""

import codecs
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from posefix_track.errors import InputError
from posefix_track.formats.block_list import BlockList
from posefix_track.formats.number_lines import PLAIN_NUMBER
from posefix_track.formats.number_text import NumberText, Ordinals, compact, number_text

# Bytes of lines that are parsed together.
BLOCK = 1 << 17
_MOST_CELLS = 100_000

# (first byte, content) of each cell of a line.
_Cells = list[tuple[int, bytes]]


def parse_csv(path: Path, data: bytes, block: int = BLOCK) -> NumberText:
    """(line number, row) of each line that is not blank. A row has ordinals for numbers, and texts as they are.

    An empty cell is the number NaN. Raises InputError where a quote is not closed in its line.
    """
    values, spans, blocks, sizes = array("f"), array("i"), [*_blocks(path, data, block)], []
    for lines in blocks:
        sizes.append(0)
        for _, cells in lines.cells():
            sizes[-1] += 1
            for start, cell in cells:
                if _is_number(cell):
                    values.append(float(cell or b"nan"))
                    spans.extend((start, start + len(cell)))
    text = number_text(path, data, None, values, spans)
    rows = _Rows(blocks, sizes, text.spans[:, 0])
    return number_text(path, data, rows if len(data) > block else [*rows], values, spans)


def cell_text(text: NumberText, cell: int | str) -> str:
    """The cell's text, whether or not it looks like a number."""
    return cell if isinstance(cell, str) else text.token(cell).decode()


@dataclass(frozen=True)
class _Lines:
    """Whole lines from byte ``start`` to ``end``, the first of which has the number ``line``."""

    path: Path
    data: bytes
    start: int
    end: int
    line: int

    def cells(self) -> Iterator[tuple[int, _Cells]]:
        """(line number, cells) of each line that is not blank."""
        start = self.start
        for number, line in enumerate(self.data[start : self.end].splitlines(keepends=True), start=self.line):
            if line.count(b",") >= _MOST_CELLS:
                raise InputError(
                    f"{self.path}: line {number}: more than {_MOST_CELLS} cells; no pose table has as many"
                )
            if line.strip():
                yield number, [(start + first, cell) for first, cell in _cells(self.path, line, number)]
            start += len(line)


class _Rows(BlockList):
    """The rows of a file, and the first bytes of its numbers."""

    def __init__(self, blocks: list[_Lines], sizes: list[int], starts: Ordinals) -> None:
        super().__init__(sizes)
        self._blocks, self._starts = blocks, starts

    def _parsed(self, number: int) -> Sequence[Any]:
        lines = self._blocks[number]
        ordinals = count(bisect_left(self._starts, lines.start))
        return [
            (line, compact([next(ordinals) if _is_number(cell) else _text(cell) for _, cell in cells]))
            for line, cells in lines.cells()
        ]


def _blocks(path: Path, data: bytes, block: int) -> Iterator[_Lines]:
    start, line = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0, 1
    while start < len(data):
        end = data.find(b"\n", start + block) + 1 or len(data)
        yield _Lines(path, data, start, end, line)
        line += len(data[start:end].splitlines())
        start = end


def _is_number(cell: bytes) -> bool:
    return not cell or PLAIN_NUMBER.fullmatch(cell) is not None


def _text(cell: bytes) -> str:
    return cell.decode("utf-8", "surrogateescape").replace('""', '"')


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

"""Comma-separated text as bytes plus numbers, see number_text.py."""

import codecs
from array import array
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.formats.block_list import BlockList
from posefix_track.formats.csv_cells import Cells, Places, cells_of
from posefix_track.formats.number_text import NumberText, Ordinals, compact, number_text

# Bytes of lines that are looked at together.
BLOCK = 1 << 16


def parse_csv(path: Path, data: bytes, block: int = BLOCK) -> NumberText:
    """The tree is CsvRows: (line number, row) of each line that is not blank.

    A row has ordinals for numbers, and texts as they are. An empty cell is the number NaN. Raises InputError where a
    quote is not closed in its line.
    """
    values, spans = array("f"), array("i")
    blocks, sizes, firsts = [*_blocks(path, data, block)], [], []
    for lines in blocks:
        cells = lines.cells()
        sizes.append(len(cells.lines))
        firsts.append(len(values))
        values.frombytes(cells.values().tobytes())
        spans.frombytes((cells.edges[cells.is_number] + lines.start).astype(np.int32).tobytes())
    return number_text(path, data, CsvRows(blocks, sizes, firsts), values, spans)


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

    def cells(self) -> Cells:
        return cells_of(self.path, self.data[self.start : self.end], self.line)


def _blocks(path: Path, data: bytes, block: int) -> Iterator[_Lines]:
    start, line = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0, 1
    while start < len(data):
        end = data.find(b"\n", start + block) + 1 or len(data)
        yield _Lines(path, data, start, end, line)
        line += len(data[start:end].splitlines())
        start = end


class CsvRows(BlockList):
    """The rows of a file, one by one, or as tables. Each block's number of rows and first ordinal are given."""

    def __init__(self, blocks: list[_Lines], sizes: list[int], firsts: list[int]) -> None:
        super().__init__(sizes)
        self._blocks, self._firsts = blocks, firsts

    def _parsed(self, number: int) -> Sequence[Any]:
        cells = self._blocks[number].cells()
        found: list[int | str] = _ordinals(cells, self._firsts[number]).tolist()
        for text in np.flatnonzero(~cells.is_number).tolist():
            found[text] = cells.text(text)
        ends = cells.ends.tolist()
        lines = zip(cells.lines.tolist(), [0, *ends], ends, strict=False)
        return [(line, compact(found[start:end])) for line, start, end in lines]

    def tables(self, text: NumberText, columns: int, header: int) -> Iterator["Table"]:
        """All rows after the first ``header`` ones. Raises InputError where one has not ``columns`` cells."""
        for lines, first in zip(self._blocks, self._firsts, strict=True):
            cells = lines.cells()
            skipped, header = min(header, len(cells.lines)), max(0, header - len(cells.lines))
            counts = np.diff(cells.ends, prepend=0)[skipped:]
            if (odd := np.flatnonzero(counts != columns)).size:
                where = f"line {cells.lines[skipped + odd[0]]}"
                raise text.error(where, f"expected {columns} cells as in the header, got {counts[odd[0]]}")
            if len(counts):
                start = int(cells.ends[skipped - 1]) if skipped else 0
                ordinals = _ordinals(cells, first)[start:].reshape(-1, columns)
                yield Table(text, cells, cells.lines[skipped:], start, ordinals)


def _ordinals(cells: Cells, first: int) -> Ordinals:
    """The ordinal of each cell; -1 for texts."""
    return np.where(cells.is_number, cells.is_number.cumsum() + (first - 1), -1).astype(np.int32)


@dataclass(frozen=True)
class Table:
    """Neighbouring rows of the same length.

    Attributes:
        text: the file.
        cells: the cells of the rows, from the one with number ``start`` on.
        lines: int64 [n], line numbers.
        start: see ``cells``.
        ordinals: int32 [n, columns], -1 for texts.
    """

    text: NumberText
    cells: Cells
    lines: Places
    start: int
    ordinals: Ordinals

    def cell(self, row: int, column: int) -> int | str:
        """An ordinal or a text."""
        ordinal = int(self.ordinals[row, column])
        return ordinal if ordinal >= 0 else self.cells.text(self.start + row * self.ordinals.shape[1] + column)

    def where(self, row: int, name: str = "") -> str:
        """What messages call the place: the line, and the column's name where it has one."""
        return f"line {self.lines[row]}: {name}" if name else f"line {self.lines[row]}"

    def frame_numbers(self, column: int, name: str) -> list[int]:
        """The frame numbers in a column. Raises InputError where one is none."""
        return [self.text.index(self.cell(row, column), self.where(row, name)) for row in range(len(self.lines))]

    def scalars(self, column: int, name: str) -> list[Hashable]:
        """What the cells of a column say; equal cells are the same object."""
        known: dict[bytes, Hashable] = {}
        found = []
        for row in range(len(self.lines)):
            token = self.cells.token(self.start + row * self.ordinals.shape[1] + column)
            if token not in known:
                known[token] = self.text.scalar(self.cell(row, column), self.where(row, name))
            found.append(known[token])
        return found

    def numbers(self, columns: Sequence[int], name: str = "") -> Ordinals:
        """int32 [n, len(columns)]. Raises InputError where one of the cells is a text."""
        ordinals: Ordinals = self.ordinals[:, columns]
        if (ordinals < 0).any():
            row, place = np.argwhere(ordinals < 0)[0].tolist()
            found = self.cell(row, columns[place])
            raise self.text.error(self.where(row, name), f"expected a number, got {str(found)[:40]!r}")
        return ordinals

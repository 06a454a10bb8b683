"""Where the cells of comma-separated lines stand, and which of them are numbers: a block of lines at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.number_lines import PLAIN_NUMBER
from posefix_track.formats.number_text import parsed_floats

# More than any pose table has in a line.
MOST_CELLS = 100_000
LONGEST_LINE = 1 << 20
# With any of these in a block, its cells are not just what stands between commas.
_SPECIAL = (b'"', b" ", b"\t", b"\x0b", b"\x0c")
# Digits and points are counted in the lower and the upper half of one sum.
_HALF = 32
_WEIGHTS = np.zeros(256, np.int64)
_WEIGHTS[list(b"0123456789")], _WEIGHTS[ord(".")] = 1, 1 << _HALF
_SIGNS = np.isin(np.arange(256), list(b"+-"))

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """The cells of some lines, one after the other.

    Attributes:
        data: the bytes of the lines.
        lines: int64 [n], the number of each line that is not blank.
        ends: int64 [n], how many cells there are up to the end of each of them.
        edges: int64 [m, 2], first byte and one past the last of each cell, without white space and quotes around.
        is_number: bool [m]; an empty cell counts as one.
    """

    data: bytes
    lines: Places
    ends: Places
    edges: Places
    is_number: npt.NDArray[np.bool_]

    def values(self) -> npt.NDArray[np.float32]:
        """float32 of each number, NaN for empty cells."""
        edges = self.edges[self.is_number]
        written = edges[:, 0] < edges[:, 1]
        depth = np.zeros(len(self.data) + 1, np.int8)
        depth[edges[written, 0]], depth[edges[written, 1]] = 1, -1
        inside = depth[:-1].cumsum(dtype=np.int8) == 1
        words = np.where(inside, np.frombuffer(self.data, np.uint8), np.uint8(ord(" "))).tobytes()
        values = np.full(len(edges), np.nan, np.float32)
        values[written] = parsed_floats(words, int(written.sum()))
        return values

    def token(self, cell: int) -> bytes:
        """The bytes of a cell."""
        start, end = self.edges[cell].tolist()
        return self.data[start:end]

    def text(self, cell: int) -> str:
        """The text of a cell."""
        return self.token(cell).decode("utf-8", "surrogateescape").replace('""', '"')


def cells_of(path: Path, data: bytes, first_line: int) -> Cells:
    """The cells of whole lines. Raises InputError where a quote is not closed, or a line has too many cells."""
    for line, content in enumerate(data.splitlines(), start=first_line):
        if content.count(b",") >= MOST_CELLS or len(content) > LONGEST_LINE:
            limits = f"more than {MOST_CELLS} cells or {LONGEST_LINE} bytes"
            raise InputError(f"{path}: line {line}: {limits}; no pose table has lines as long")
    is_plain = not any(special in data for special in _SPECIAL) and data.count(b"\r") == data.count(b"\r\n")
    lines, counts, edges = _plain(data, first_line) if is_plain else _quoted(path, data, first_line)
    return Cells(data, lines, counts.cumsum(), edges, _numbers(data, edges))


def _plain(data: bytes, first_line: int) -> tuple[Places, Places, Places]:
    """Line numbers, cells of each line, and edges of the cells, of lines that have only commas between them."""
    characters = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", np.uint8)
    ends = np.flatnonzero((characters == ord(",")) | (characters == ord("\n")))
    starts = np.append(0, ends[:-1] + 1)
    is_last = characters[ends] == ord("\n")
    ends = ends - (is_last & (characters[ends - 1] == ord("\r")) & (ends > 0))
    counts = np.diff(np.flatnonzero(is_last), prepend=-1)
    filled = (counts > 1) | (ends > starts)[is_last]
    edges = np.stack((starts, ends), axis=1)[np.repeat(filled, counts)]
    return np.flatnonzero(filled) + first_line, counts[filled], edges


def _quoted(path: Path, data: bytes, first_line: int) -> tuple[Places, Places, Places]:
    """As ``_plain``, with white space and quotes around cells."""
    lines, counts, edges, start = [], [], [], 0
    for line, content in enumerate(data.splitlines(keepends=True), start=first_line):
        if content.strip():
            found = [(start + first, start + last) for first, last in _line_edges(path, content, line)]
            lines.append(line)
            counts.append(len(found))
            edges += found
        start += len(content)
    return np.array(lines, np.int64), np.array(counts, np.int64), np.array(edges, np.int64).reshape(-1, 2)


def _line_edges(path: Path, line: bytes, number: int) -> Iterator[tuple[int, int]]:
    quotes, start, end = 0, 0, -1
    for piece in line.rstrip(b"\r\n").split(b","):
        quotes += piece.count(b'"')
        end += 1 + len(piece)
        # A comma within quotes is part of the cell.
        if quotes % 2 == 0:
            yield _bare(line, start, end)
            start = end + 1
    if quotes % 2:
        raise InputError(f"{path}: line {number}: a quote is not closed; is the file cut short?")


def _bare(line: bytes, start: int, end: int) -> tuple[int, int]:
    cell = line[start:end]
    bare = cell.strip()
    start += len(cell) - len(cell.lstrip()) if bare else 0
    if len(bare) >= 2 and bare[:1] == bare[-1:] == b'"':
        return start + 1, start + len(bare) - 1
    return start, start + len(bare)


def _numbers(data: bytes, edges: Places) -> npt.NDArray[np.bool_]:
    """Which cells are numbers: empty ones, those of digits, a sign and a point, and what else looks like one."""
    starts, ends = edges.T
    characters = np.frombuffer(data, np.uint8)
    counts = np.append(0, _WEIGHTS[characters].cumsum())
    found = counts[ends] - counts[starts]
    digits, points = found & ((1 << _HALF) - 1), found >> _HALF
    signs = _SIGNS[np.append(characters, 0)[starts]]
    plain = (digits > 0) & (points <= 1) & (digits + points + signs == ends - starts)
    is_number: npt.NDArray[np.bool_] = plain | (starts == ends)
    for cell in np.flatnonzero(~is_number).tolist():
        is_number[cell] = PLAIN_NUMBER.fullmatch(data, *edges[cell].tolist()) is not None
    return is_number

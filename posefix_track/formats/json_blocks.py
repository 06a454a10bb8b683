"""JSON values too large to be held as trees: sequences and mappings that parse a block when it is asked for."""

import re
from array import array
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.errors import InputError
from posefix_track.formats.block_list import BlockList
from posefix_track.formats.json_text import BLOCK, STEPS, Document, bare_windows, located, open_document
from posefix_track.formats.number_text import NumberText, compact

_SPACE = b" \t\r\n"
_TAIL = 4096
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")
_KEY = re.compile(rb'[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:', re.DOTALL)
# No list of a pose file has more numbers: the largest keypoint sets have some 140 joints.
_MOST_NUMBERS = 100_000


def parse_json(path: Path, data: bytes, block: int = BLOCK) -> NumberText:
    """One JSON document. Raises InputError naming the place when it is not valid or nested too deeply."""
    document, start = open_document(path, data, block)
    return located(document, compact(value_at(document, start, len(data))))


def parse_json_lines(path: Path, data: bytes, block: int = BLOCK) -> NumberText:
    """One JSON document a line, blank lines allowed. Raises InputError as ``parse_json`` does."""
    document, start = open_document(path, data, block)
    return located(document, JsonLines(document, start))


@dataclass(frozen=True, slots=True)
class _Block:
    """``size`` neighbouring members from byte ``start`` to ``end``.

    ``large`` is the value of a single member that is itself made of blocks.
    """

    start: int
    end: int
    size: int
    large: Any = None


class JsonList(BlockList):
    """A large JSON list."""

    def __init__(self, document: Document, blocks: list[_Block]) -> None:
        super().__init__([block.size for block in blocks])
        self._document, self._blocks = document, blocks

    def _parsed(self, number: int) -> Sequence[Any]:
        block = self._blocks[number]
        if block.large is not None:
            return [block.large]
        items: Sequence[Any] = self._document.parsed(block.start, block.end, "[", "]", checked=True)
        return items


class JsonLines(BlockList):
    """(line number, value) of each line that is not blank."""

    def __init__(self, document: Document, start: int) -> None:
        self._document, self._places, sizes = document, [], []
        line = 1
        while start < len(document.data):
            end = document.data.find(b"\n", start + document.block) + 1 or len(document.data)
            sizes.append(sum(1 for _ in self._lines(start, end, line, checked=False)))
            self._places.append((start, end, line))
            line += document.data.count(b"\n", start, end)
            start = end
        super().__init__(sizes)

    def _parsed(self, number: int) -> Sequence[Any]:
        return [*self._lines(*self._places[number], checked=True)]

    def _lines(self, start: int, end: int, line: int, checked: bool) -> Iterator[tuple[int, Any]]:
        for text in self._document.data[start:end].split(b"\n"):
            if text.strip(_SPACE):
                yield line, value_at(self._document, start, start + len(text), checked)
            start, line = start + len(text) + 1, line + 1


class JsonObject(Mapping[str, Any]):
    """A large JSON object, searched by the hashes of its keys."""

    def __init__(self, document: Document, blocks: list[_Block], hashes: "array[int]") -> None:
        self._document, self._blocks = document, blocks
        self._ends = np.cumsum([block.size for block in blocks])
        self._hashes = np.frombuffer(hashes, np.int64)
        self._last: tuple[int, dict[str, Any]] = -1, {}
        ordered = np.sort(self._hashes)
        if twice := {*ordered[1:][ordered[1:] == ordered[:-1]].tolist()}:
            self._check_unique(twice)

    def _check_unique(self, suspects: set[int]) -> None:
        seen: set[str] = set()
        for key in (key for key in self if hash(key) in suspects):
            if key in seen:
                raise InputError(f"{self._document.path}: key {key[:40]!r} stands twice in one object")
            seen.add(key)

    def __len__(self) -> int:
        return len(self._hashes)

    def __iter__(self) -> Iterator[str]:
        for members in self.members():
            yield from members

    def __getitem__(self, key: str) -> Any:
        for position in np.flatnonzero(self._hashes == hash(key)):
            members = self._members(int(np.searchsorted(self._ends, position, side="right")))
            if key in members:
                return members[key]
        raise KeyError(key)

    def items(self) -> ItemsView[str, Any]:
        """(key, value) pairs, one block after the other."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Values, one block after the other."""
        return _Values(self)

    def members(self) -> Iterator[dict[str, Any]]:
        """The object in parts."""
        return map(self._members, range(len(self._blocks)))

    def _members(self, number: int) -> dict[str, Any]:
        if self._last[0] != number:
            self._last = number, _members(self._document, self._blocks[number])
        return self._last[1]


class _Items(ItemsView[str, Any]):
    _mapping: JsonObject

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return (pair for members in self._mapping.members() for pair in members.items())


class _Values(ValuesView[Any]):
    _mapping: JsonObject

    def __iter__(self) -> Iterator[Any]:
        return (value for members in self._mapping.members() for value in members.values())


def _members(document: Document, block: _Block) -> dict[str, Any]:
    if block.large is not None:
        return {_large_key(document, block.start, block.end)[0]: block.large}
    members: dict[str, Any] = document.parsed(block.start, block.end, "{", "}", checked=True)
    return members


def value_at(document: Document, start: int, end: int, checked: bool = False) -> Any:
    """The value between two bytes, with nothing else around it but white space; see Document.parsed."""
    if end - start > document.block:
        start, end = _stripped(document.data, start, end)
        if document.data[start : start + 1] == b"[":
            return _large_list(document, start, end)
        if document.data[start : start + 1] == b"{":
            return _large_object(document, start, end)
    return document.parsed(start, end, checked=checked)


def _stripped(data: bytes, start: int, end: int) -> tuple[int, int]:
    """``start`` and ``end`` without the white space between them and what is inside."""
    found = _NOT_SPACE.search(data, start, end)
    start = found.start() if found else end
    while end > start and data[end - 1] in _SPACE:
        tail = data[max(start, end - _TAIL) : end]
        end -= len(tail) - len(tail.rstrip(_SPACE))
    return start, end


def _large_list(document: Document, start: int, end: int) -> JsonList:
    blocks, numbers = [], 0
    for first, last in _split(document, start, end):
        if last - first > document.block:
            blocks.append(_Block(first, last, 1, _if_large(value_at(document, first, last))))
            continue
        items = document.parsed(first, last, "[", "]")
        numbers = numbers + len(items) if set(map(type, items)) == {int} else 0
        if numbers > _MOST_NUMBERS:
            raise document.error(first, f"a list of more than {_MOST_NUMBERS} numbers; no pose has as many")
        blocks.append(_Block(first, last, len(_filled(document, items, last))))
    return JsonList(document, blocks)


def _large_object(document: Document, start: int, end: int) -> JsonObject:
    blocks, hashes = [], array("q")
    for first, last in _split(document, start, end):
        if last - first > document.block:
            key, value_start = _large_key(document, first, last)
            blocks.append(_Block(first, last, 1, _if_large(value_at(document, value_start, last))))
            hashes.append(hash(key))
            continue
        members = _filled(document, document.parsed(first, last, "{", "}"), last)
        blocks.append(_Block(first, last, len(members)))
        hashes.extend(map(hash, members))
    return JsonObject(document, blocks, hashes)


def _if_large(value: Any) -> Any:
    """A value that is made of blocks; others are parsed when they are asked for."""
    return value if isinstance(value, JsonList | JsonObject) else None


def _filled(document: Document, members: Any, at: int) -> Any:
    if not members:
        raise document.invalid(at, "expecting a value")
    return members


def _large_key(document: Document, start: int, end: int) -> tuple[str, int]:
    """A member's key, and where its value starts."""
    match = _KEY.match(document.data, start, end)
    if match is None:
        raise document.invalid(start, "expecting a property name in double quotes")
    key: str = document.parsed(match.start(1), match.end(1))
    return key, match.end()


def _split(document: Document, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(first byte, end) of groups of the members of a list or object: as many as a block takes, or a single large one.

    Raises InputError unless the brackets at the beginning and the end belong together.
    """
    closing = b"]" if document.data[start] == ord("[") else b"}"
    begin, last = start + 1, start
    for commas, close in _commas(document, start, end):
        while (found := int(np.searchsorted(commas, begin + document.block))) < len(commas):
            before = int(commas[found - 1]) if found and commas[found - 1] >= begin else last
            cut = before if before >= begin else int(commas[found])
            yield begin, cut
            begin = cut + 1
        last = int(commas[-1]) if len(commas) else last
        if close is not None:
            break
    if end - begin > document.block and last >= begin:
        yield begin, last
        begin = last + 1
    if close is None or document.data[close : close + 1] != closing:
        raise document.invalid(end if close is None else close, f"expecting ',' or {closing.decode()!r}")
    # White space alone is no member, but one after a comma is missing.
    if begin > start + 1 or _stripped(document.data, begin, close)[0] < close:
        yield begin, close
    if close != end - 1:
        raise document.invalid(close + 1, "extra data")


def _commas(document: Document, start: int, end: int) -> Iterator[tuple[Any, int | None]]:
    """Positions of the commas between members of the value at ``start``, piece by piece; and of its end, once met."""
    depth = 0
    for first, piece in bare_windows(document, start, end):
        characters = np.frombuffer(piece, np.uint8)
        depths = STEPS[characters].cumsum(dtype=np.int32) + depth
        closed = np.flatnonzero(depths == 0)
        stop = int(closed[0]) if len(closed) else len(piece)
        yield np.flatnonzero((characters[:stop] == ord(",")) & (depths[:stop] == 1)) + first, (
            first + stop if len(closed) else None)  # fmt: skip
        if len(closed):
            return
        depth = int(depths[-1])

"""Text files seen as bytes plus numbers: parse once, change single numbers, keep every other byte.

A parsed tree holds no numbers. In the place of each stands its *ordinal*, an int that says "the n-th number of this
file", which leads both to its value and to its bytes. ``null`` counts as a number (NaN), so that it can be replaced;
so does an empty CSV cell.
"""

import itertools
import json
import re
from array import array
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError

Ordinals = npt.NDArray[np.int64]

MAX_DEPTH = 64
_MAX_INT_DIGITS = 300

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# Outside strings JSON is brackets, punctuation, white space and words; of the words only true and false are no numbers.
# The last three bytes are those of a byte order mark.
_GAPS = bytes.maketrans(b"[]{},:\t\r\n\xef\xbb\xbf", b" " * 12)
_NULLS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|null', re.DOTALL)
_WORDS = re.compile(rb"\S+")
PLAIN_NUMBER = re.compile(
    rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE
)


class _DuplicateKeyError(ValueError):
    """One JSON object has the same key twice."""


@dataclass(frozen=True)
class NumberText:
    """A text file and the place of each of its M numbers.

    Attributes:
        path: where the file lies; names it in error messages.
        data: all of its bytes.
        tree: the parsed content with ordinals for numbers: a JSON value, or (line number, value) pairs for files that
            are read line by line.
        values: float64 [M].
        spans: int64 [M, 2], first byte and one past the last byte of each number.
    """

    path: Path
    data: bytes = field(repr=False)
    tree: Any = field(repr=False)
    values: npt.NDArray[np.float64] = field(repr=False)
    spans: Ordinals = field(repr=False)

    def token(self, ordinal: int) -> bytes:
        """The number's bytes as the file has them."""
        start, end = self.spans[ordinal]
        return self.data[start:end]

    def replaced(self, tokens: Mapping[int, bytes]) -> bytes:
        """The file's bytes with the given numbers (ordinal -> new bytes) in place of the old."""
        ordinals = sorted(tokens)
        pieces, done = [], 0
        for ordinal, (start, end) in zip(ordinals, self.spans[ordinals].tolist(), strict=True):
            pieces += [self.data[done:start], tokens[ordinal]]
            done = end
        return b"".join([*pieces, self.data[done:]])

    def decimals(self, ordinals: Ordinals) -> int:
        """The most digits after the point that one of these numbers is written with; those with exponents aside."""
        if not len(ordinals):
            return 0
        # Only the part of the file that they stand in is looked at.
        first = self.spans[ordinals.min(), 0]
        starts, ends = self.spans[ordinals].T - first
        characters = np.frombuffer(self.data, np.uint8, count=int(ends.max()), offset=int(first))
        points = _first_in_span(characters == ord("."), starts, ends)
        exponents = _first_in_span((characters == ord("e")) | (characters == ord("E")), starts, ends)
        return int(np.max(ends - points - 1, initial=0, where=exponents == ends))

    def error(self, where: str, problem: str) -> InputError:
        """An InputError that names the file and the place in it."""
        return InputError(f"{self.path}: {where}: {problem}" if where else f"{self.path}: {problem}")

    def ordinals(self, value: Any, where: str) -> Ordinals:
        """int64 [n] for a list of n numbers. Raises InputError for anything else."""
        if type(value) is not list:
            raise self.error(where, f"expected a list of numbers, got {_kind(value)}")
        if not set(map(type, value)) <= {int}:
            odd = next(item for item in value if type(item) is not int)
            raise self.error(where, f"expected a list of numbers, but it holds {_kind(odd)}")
        return np.array(value, dtype=np.int64)

    def number(self, value: Any, where: str) -> float:
        """The value of one number. Raises InputError for anything else."""
        if type(value) is not int:
            raise self.error(where, f"expected a number, got {_kind(value)}")
        return float(self.values[value])

    def index(self, value: Any, where: str) -> int:
        """A frame number: a whole number that is not negative. Raises InputError for anything else."""
        number = self.number(value, where)
        if not (0 <= number < 2**53 and number.is_integer()):
            raise self.error(where, f"expected a frame number (0, 1, 2, ...), got {number:g}")
        return int(number)

    def scalar(self, value: Any, where: str) -> Hashable:
        """A string, number, bool or None as itself: what ids are made of. Raises InputError for lists and objects."""
        if type(value) is not int:
            if isinstance(value, str | bool):
                return value
            raise self.error(where, f"expected a number or a string, got {_kind(value)}")
        token = self.token(value)
        if token in (b"null", b""):
            return None
        whole = token.removeprefix(b"-").isdigit() and len(token) <= _MAX_INT_DIGITS
        return int(token) if whole else float(self.values[value])

    def items(self, value: Any, where: str) -> list[Any]:
        """``value`` where it is a list. Raises InputError for anything else."""
        if type(value) is not list:
            raise self.error(where, f"expected a list, got {_kind(value)}")
        return value

    def record(self, value: Any, where: str, *required: str) -> dict[str, Any]:
        """``value`` where it is an object that has all ``required`` keys. Raises InputError for anything else."""
        if type(value) is not dict:
            raise self.error(where, f"expected an object, got {_kind(value)}")
        missing = [key for key in required if key not in value]
        if missing:
            raise self.error(where, f"{missing[0]!r} is missing")
        return value


def _first_in_span(mask: npt.NDArray[np.bool_], starts: Ordinals, ends: Ordinals) -> Ordinals:
    """For each span the first position within it where ``mask`` is true, else its end."""
    positions = np.append(np.flatnonzero(mask), len(mask))
    found: Ordinals = np.minimum(positions[np.searchsorted(positions, starts)], ends)
    return found


def _kind(value: Any) -> str:
    names = {int: "a number or null", str: "a string", bool: "true or false", list: "a list", dict: "an object"}
    return names.get(type(value), "nothing")


def parse_json(path: Path, data: bytes) -> NumberText:
    """One JSON document. Raises InputError naming the place when it is not valid or nested too deeply."""
    return _located(path, data, _decoded(path, _decoder(), _json_text(data)))


def parse_json_lines(path: Path, data: bytes) -> NumberText:
    """One JSON document a line, blank lines allowed. Raises InputError as ``parse_json`` does."""
    decoder = _decoder()
    lines = enumerate(_json_text(data).split("\n"), start=1)
    tree = [(number, _decoded(path, decoder, line, number)) for number, line in lines if line.strip(" \t\r")]
    return _located(path, data, tree)


def parse_number_lines(path: Path, data: bytes) -> NumberText:
    """Lines of numbers with white space between. Raises InputError for any other word."""
    numbers, spans, tree, start = array("d"), array("q"), [], 0
    for line_number, line in enumerate(data.splitlines(keepends=True), start=1):
        row = []
        for word in _WORDS.finditer(line):
            if not PLAIN_NUMBER.fullmatch(word[0]):
                raise InputError(f"{path}: line {line_number}: {_quoted(word[0])} is not a number")
            row.append(len(numbers))
            numbers.append(float(word[0]))
            spans.extend((start + word.start(), start + word.end()))
        tree += [(line_number, row)] if row else []
        start += len(line)
    return NumberText(path, data, tree, np.array(numbers), np.array(spans, dtype=np.int64).reshape(-1, 2))


def _quoted(word: bytes) -> str:
    return repr(word[:20].decode("utf-8", "replace"))


def _json_text(data: bytes) -> str:
    # File names inside may be in any encoding; a byte that is not UTF-8 is carried as a surrogate.
    text = data.decode("utf-8-sig", "surrogateescape")
    # The decoder reports numbers and NaN, but not null. Equal lengths keep the positions in its messages right.
    return _NULLS.sub(lambda match: "NaN " if match[0] == "null" else match[0], text) if "null" in text else text


def _decoder() -> json.JSONDecoder:
    """A decoder that puts the ordinal of each number in its place: it meets them in document order."""
    counter = itertools.count()

    def ordinal(_: str) -> int:
        return next(counter)

    return json.JSONDecoder(
        object_pairs_hook=_unique_object, parse_float=ordinal, parse_int=ordinal, parse_constant=ordinal
    )


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKeyError(next(key for key in keys if keys.count(key) > 1))
    return tree


def _decoded(path: Path, decoder: json.JSONDecoder, text: str, line: int | None = None) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise InputError(f"{path}: expected JSON, but the file is empty") from None
        place = f"line {line or error.lineno}, column {error.colno}"
        raise InputError(
            f"{path}: {place}: not valid JSON ({error.msg}); is the file cut short or of another kind?"
        ) from None
    except _DuplicateKeyError as error:
        place = f"line {line}: " if line else ""
        raise InputError(f"{path}: {place}key {str(error)[:40]!r} stands twice in one object") from None
    except RecursionError:
        raise _too_deep(path) from None


def _too_deep(path: Path) -> InputError:
    return InputError(f"{path}: brackets are nested deeper than {MAX_DEPTH}; no pose file is")


def _located(path: Path, data: bytes, tree: Any) -> NumberText:
    """Finds the numbers of JSON that the decoder has accepted, which makes the grammar simple."""
    bare = _STRINGS.sub(lambda match: b" " * len(match[0]), data)
    _check_depth(path, bare)
    words = bare.translate(_GAPS)
    values = [float(word) for word in words.replace(b"null", b"NaN ").split() if word[0] not in b"tf"]
    return NumberText(path, data, tree, np.array(values, dtype=np.float64), _spans(words))


def _check_depth(path: Path, bare: bytes) -> None:
    characters = np.frombuffer(bare, dtype=np.uint8)
    brackets = characters[np.isin(characters, np.frombuffer(b"[]{}", dtype=np.uint8))]
    steps = np.where(np.isin(brackets, np.frombuffer(b"[{", dtype=np.uint8)), 1, -1)
    if steps.cumsum().max(initial=0) > MAX_DEPTH:
        raise _too_deep(path)


def _spans(words: bytes) -> Ordinals:
    characters = np.frombuffer(words, dtype=np.uint8)
    edges = np.flatnonzero(np.diff(characters != ord(" "), prepend=False, append=False))
    spans = edges.reshape(-1, 2)
    is_bool = np.isin(characters[spans[:, 0]], np.frombuffer(b"tf", dtype=np.uint8))
    return spans[~is_bool]

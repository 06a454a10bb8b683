"""Text files seen as bytes plus numbers: parse once, change single numbers, keep every other byte.

A parsed tree holds no numbers. In the place of each stands its *ordinal*, an int that says "the n-th number of this
file", which leads both to its value and to its bytes. ``null`` counts as a number (NaN), so that it can be replaced.
"""

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

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_STRINGS = re.compile(_STRING, re.DOTALL)
# Only ever run over JSON that the decoder has accepted, so it can be loose about what a number looks like.
_NUMBERS = re.compile(_STRING + rb"|(-?(?:[0-9][0-9.eE+-]*|Infinity)|NaN|null)", re.DOTALL)
_NULLS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|null', re.DOTALL)
_WORDS = re.compile(rb"\S+")
_PLAIN_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf)", re.IGNORECASE)


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
        pieces, done = [], 0
        for ordinal in sorted(tokens):
            start, end = self.spans[ordinal].tolist()
            pieces += [self.data[done:start], tokens[ordinal]]
            done = end
        return b"".join([*pieces, self.data[done:]])

    def error(self, where: str, problem: str) -> InputError:
        """An InputError that names the file and the place in it."""
        return InputError(f"{self.path}: {where}: {problem}" if where else f"{self.path}: {problem}")

    def ordinals(self, value: Any, where: str) -> Ordinals:
        """int64 [n] for a list of n numbers. Raises InputError for anything else."""
        if type(value) is not list:
            raise self.error(where, f"expected a list of numbers, got {_kind(value)}")
        if any(type(item) is not int for item in value):
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
        if token == b"null":
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


def _kind(value: Any) -> str:
    names = {int: "a number", str: "a string", bool: "true or false", list: "a list", dict: "an object"}
    return names.get(type(value), "nothing")


def parse_json(path: Path, data: bytes) -> NumberText:
    """One JSON document. Raises InputError naming the place when it is not valid or nested too deeply."""
    numbers = array("d")
    tree = _decoded(path, _decoder(numbers), _json_text(data))
    _check_depth(path, data)
    return NumberText(path, data, tree, np.array(numbers), _spans(data))


def parse_json_lines(path: Path, data: bytes) -> NumberText:
    """One JSON document a line, blank lines allowed. Raises InputError as ``parse_json`` does."""
    numbers = array("d")
    decoder = _decoder(numbers)
    lines = enumerate(_json_text(data).split("\n"), start=1)
    tree = [(number, _decoded(path, decoder, line, number)) for number, line in lines if line.strip(" \t\r")]
    _check_depth(path, data)
    return NumberText(path, data, tree, np.array(numbers), _spans(data))


def parse_number_lines(path: Path, data: bytes) -> NumberText:
    """Lines of numbers with white space between. Raises InputError for any other word."""
    numbers, spans, tree, start = array("d"), array("q"), [], 0
    for line_number, line in enumerate(data.splitlines(keepends=True), start=1):
        row = []
        for word in _WORDS.finditer(line):
            if not _PLAIN_NUMBER.fullmatch(word[0]):
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


def _decoder(numbers: "array[float]") -> json.JSONDecoder:
    """A decoder that appends each number's value to ``numbers`` and returns its ordinal, in document order."""

    def ordinal(text: str) -> int:
        numbers.append(float(text))
        return len(numbers) - 1

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


def _check_depth(path: Path, data: bytes) -> None:
    characters = np.frombuffer(_STRINGS.sub(b"", data), dtype=np.uint8)
    opening = np.isin(characters, np.frombuffer(b"[{", dtype=np.uint8))
    closing = np.isin(characters, np.frombuffer(b"]}", dtype=np.uint8))
    steps = opening.astype(np.int32) - closing
    if steps.cumsum(dtype=np.int32).max(initial=0) > MAX_DEPTH:
        raise _too_deep(path)


def _spans(data: bytes) -> Ordinals:
    ends = (end for match in _NUMBERS.finditer(data) if match[1] for end in match.span(1))
    return np.fromiter(ends, dtype=np.int64).reshape(-1, 2)

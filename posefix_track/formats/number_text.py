"""Text files seen as bytes plus numbers: parse once, change single numbers, keep every other byte.

A parsed tree holds no numbers. In the place of each stands its *ordinal*, an int that says "the n-th number of this
file", which leads both to its value and to its bytes. ``null`` counts as a number (NaN), so that it can be replaced;
so does an empty CSV cell.
"""

from array import array
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.block_list import BlockList

# 32 bits are enough for files of less than 2 GiB.
Ordinals = npt.NDArray[np.int32]

# As many as Python turns into an int without being asked to.
_MAX_INT_DIGITS = 4300
# The plain kinds are found without asking the others' abstract classes.
_LISTS, _OBJECTS = (list, range, BlockList), (dict, Mapping)


@dataclass(frozen=True)
class NumberText:
    """A text file and the place of each of its M numbers.

    Attributes:
        path: where the file lies; names it in error messages.
        data: all of its bytes.
        tree: the parsed content with ordinals for numbers: a JSON value, or (line number, value) pairs for files that
            are read line by line. A list of nothing but numbers may be a range; large lists and objects are read-only
            and parsed anew whenever they are walked through.
        values: float32 [M]; a number too large for it is infinite.
        spans: int32 [M, 2], first byte and one past the last byte of each number.
    """

    path: Path
    data: bytes = field(repr=False)
    tree: Any = field(repr=False)
    values: npt.NDArray[np.float32] = field(repr=False)
    spans: Ordinals = field(repr=False)

    def token(self, ordinal: int) -> bytes:
        """The number's bytes as the file has them."""
        start, end = self.spans[ordinal].tolist()
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
        """int32 [n] for a list of n numbers. Raises InputError for anything else."""
        if type(value) is range:
            return np.arange(value.start, value.stop, dtype=np.int32)
        if not is_list(value):
            raise self.error(where, f"expected a list of numbers, got {_kind(value)}")
        if not set(map(type, value)) <= {int}:
            odd = next(item for item in value if type(item) is not int)
            raise self.error(where, f"expected a list of numbers, but it holds {_kind(odd)}")
        return np.fromiter(value, np.int32, len(value))

    def ordinal(self, value: Any, where: str) -> int:
        """The ordinal of one number. Raises InputError for anything else."""
        if type(value) is not int:
            raise self.error(where, f"expected a number, got {_kind(value)}")
        return value

    def number(self, value: Any, where: str) -> float:
        """The value of one number. Raises InputError for anything else."""
        token = self.token(self.ordinal(value, where))
        return np.nan if token in (b"null", b"") else float(token)

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
        digits = token.removeprefix(b"-")
        return int(token) if digits.isdigit() and len(digits) <= _MAX_INT_DIGITS else float(token)

    def items(self, value: Any, where: str) -> Collection[Any]:
        """``value`` where it is a list. Raises InputError for anything else."""
        if not is_list(value):
            raise self.error(where, f"expected a list, got {_kind(value)}")
        return value

    def record(self, value: Any, where: str, *required: str) -> Mapping[str, Any]:
        """``value`` where it is an object that has all ``required`` keys. Raises InputError for anything else."""
        if not is_object(value):
            raise self.error(where, f"expected an object, got {_kind(value)}")
        missing = [key for key in required if key not in value]
        if missing:
            raise self.error(where, f"{missing[0]!r} is missing")
        return value


def is_list(value: Any) -> TypeGuard["list[Any] | range | BlockList"]:
    """Whether a part of a tree is a list."""
    return isinstance(value, _LISTS)


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a part of a tree is an object."""
    return isinstance(value, _OBJECTS)


def compact(value: Any) -> Any:
    """A tree whose lists of nothing but numbers are ranges: their ordinals follow each other."""
    if type(value) is dict:
        return {key: compact(item) for key, item in value.items()}
    if type(value) is not list or not value:
        return value
    kinds = set(map(type, value))
    if kinds == {int}:
        return range(value[0], value[-1] + 1)
    return [compact(item) for item in value] if kinds & {list, dict} else value


def number_text(path: Path, data: bytes, tree: Any, values: "array[float]", spans: "array[int]") -> NumberText:
    """From arrays of values ("f") and of starts and ends ("i")."""
    places = np.frombuffer(spans, np.int32).reshape(-1, 2)
    return NumberText(path, data, tree, np.frombuffer(values, np.float32), places)


def parsed_floats(words: bytes, count: int) -> npt.NDArray[np.float32]:
    """float32 [count] of the numbers that stand in ``words`` with white space between."""
    numbers = np.fromiter(map(float, words.split()), np.float64, count)
    # A number too large for float32 becomes infinite: an absent joint, as any other that is not finite.
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _first_in_span(mask: npt.NDArray[np.bool_], starts: Ordinals, ends: Ordinals) -> Ordinals:
    """For each span the first position within it where ``mask`` is true, else its end."""
    positions = np.append(np.flatnonzero(mask), len(mask))
    found: Ordinals = np.minimum(positions[np.searchsorted(positions, starts)], ends)
    return found


def _kind(value: Any) -> str:
    if is_list(value) or is_object(value):
        return "a list" if is_list(value) else "an object"
    return {int: "a number or null", str: "a string", bool: "true or false"}.get(type(value), "nothing")

"""Column names that pandas has pickled into an HDF5 file, read without running the pickle; and such pickles written.

Unpickling runs whatever code the file's author likes. The instructions are only looked at here: those that make lists
and tuples of strings and numbers are followed, any other ends in an error.
"""

import pickletools
import re
from pathlib import Path
from typing import Any

from posefix_track.errors import InputError

_MARK = object()
_MOST_COLUMNS = 1_000_000


def pickled_names(path: Path, pickled: Any) -> list[tuple[str, ...]]:
    """The tuples of strings in a pickled list. Raises InputError for anything else."""
    if not isinstance(pickled, str | bytes):
        raise InputError(f"{path}: expected the column names to be a string, got {type(pickled).__name__}")
    data = pickled.encode("latin-1", "replace") if isinstance(pickled, str) else pickled
    try:
        names = _Machine().run(data)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the column names cannot be read ({str(error)[:80]})") from error
    if not isinstance(names, list) or not all(
        isinstance(n, tuple) and all(isinstance(t, str) for t in n) for n in names
    ):
        raise InputError(f"{path}: expected the column names to be a list of tuples of names")
    return names


def pickled(value: Any) -> bytes:
    """None, whole numbers and strings, and lists, tuples and dicts of them, in pickle's oldest form: plain text."""
    return _pickled(value) + b"."


def _pickled(value: Any) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, int):
        return b"I%d\n" % value
    if isinstance(value, str):
        # A string ends with its line, and a backslash begins an escape.
        return b"V" + re.sub(r"[\\\0\n\r\x1a]", _escaped, value).encode("raw-unicode-escape") + b"\n"
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
        return b"(" + b"".join(map(_pickled, value)) + b"d"
    return b"(" + b"".join(map(_pickled, value)) + (b"t" if isinstance(value, tuple) else b"l")


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


class _Machine:
    """Just enough of pickle's stack machine for lists and tuples."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name == "STOP":
                return self.stack.pop()
            self._step(operation.name, argument)
            if len(self.stack) > _MOST_COLUMNS:
                raise ValueError("too many names")
        raise ValueError("the pickle does not end")

    def _step(self, name: str, argument: Any) -> None:
        if "UNICODE" in name or "STRING" in name or name in ("INT", "BININT", "BININT1", "BININT2", "NONE"):
            self.stack.append(argument)
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in ("EMPTY_LIST", "EMPTY_TUPLE"):
            self.stack.append([] if name == "EMPTY_LIST" else ())
        elif name in ("LIST", "TUPLE"):
            items = self._marked()
            self.stack.append(items if name == "LIST" else tuple(items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            self.stack[-count:] = [tuple(self.stack[-count:])]
        elif name in ("APPEND", "APPENDS"):
            items = self._marked() if name == "APPENDS" else [self.stack.pop()]
            self.stack[-1].extend(items)
        else:
            self._remember(name, argument)

    def _remember(self, name: str, argument: Any) -> None:
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"the instruction {name} is not one for names")

    def _marked(self) -> list[Any]:
        """The items above the last mark, which are taken off."""
        place = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

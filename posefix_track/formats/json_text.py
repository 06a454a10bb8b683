"""JSON with ordinals for numbers (see number_text.py), in memory that is bounded by the file's size.

Python objects take ten to thirty times the room of the text that they are made of. So only small texts become trees at
once. A larger one is checked block by block, and each block is parsed again whenever somebody comes by.
"""

import codecs
import gc
import itertools
import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.number_text import NumberText, number_text, parsed_floats

MAX_DEPTH = 64
# Bytes of JSON that are parsed together.
BLOCK = 1 << 15
_WINDOW = 1 << 20
# Enough for pictures that some files carry along.
_LONGEST_STRING = 1 << 24

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# Outside strings JSON is brackets, punctuation, white space and words; of the words only true and false are no numbers.
# The last three bytes are those of a byte order mark.
_GAPS = bytes.maketrans(b"[]{},:\t\r\n\xef\xbb\xbf", b" " * 12)
_NULLS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|null', re.DOTALL)
_WORD_CHARACTERS = bytes(set(range(128)) - set(b'[]{},:\t\r\n "'))
# How each byte changes the depth of nesting.
STEPS = np.zeros(256, np.int8)
STEPS[list(b"[{")], STEPS[list(b"]}")] = 1, -1
_OTHER_UNICODE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class _DuplicateKeyError(ValueError):
    """One JSON object has the same key twice."""


@dataclass
class Document:
    """The bytes of a JSON file.

    Attributes:
        path: names the file in messages.
        data: the bytes.
        block: values of more bytes than this are not parsed at once.
        starts: int32 [M], first byte of each number, once ``located`` has found them.
    """

    path: Path
    data: bytes
    block: int = BLOCK
    starts: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def error(self, at: int, problem: str) -> InputError:
        """What is wrong at byte ``at``."""
        line, column = self.data.count(b"\n", 0, at) + 1, at - self.data.rfind(b"\n", 0, at)
        return InputError(f"{self.path}: line {line}, column {column}: {problem}")

    def invalid(self, at: int, problem: str) -> InputError:
        """A breach of JSON's grammar at byte ``at``."""
        return self.error(at, f"not valid JSON ({problem}); is the file cut short or of another kind?")

    def parsed(self, start: int, end: int, before: str = "", after: str = "", checked: bool = False) -> Any:
        """The tree of the bytes from ``start`` to ``end``, with ``before`` and ``after`` around them.

        ``checked`` says that the bytes were parsed before, so that no object in them has the same key twice.
        """
        ordinal = partial(next, itertools.count(bisect_left(self.starts, start)))
        unique = None if checked else _unique_object
        decoder = json.JSONDecoder(
            object_pairs_hook=unique, parse_float=ordinal, parse_int=ordinal, parse_constant=ordinal
        )
        text = f"{before}{_json_text(self.data[start:end])}{after}"
        try:
            with _no_collection():
                return decoder.decode(text)
        except json.JSONDecodeError as error:
            at = start + len(text[len(before) : error.pos].encode("utf-8", "surrogateescape"))
            raise self.invalid(min(at, end), error.msg) from None
        except _DuplicateKeyError as error:
            line = self.data.count(b"\n", 0, start) + 1
            place = f"line {line}: " if line > 1 else ""
            raise InputError(f"{self.path}: {place}key {str(error)[:40]!r} stands twice in one object") from None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Parsed JSON has no cycles, but so many lists that searching them for cycles takes longer than making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _json_text(data: bytes) -> str:
    # File names inside may be in any encoding; a byte that is not UTF-8 is carried as a surrogate.
    text = data.decode("utf-8", "surrogateescape")
    # The decoder reports numbers and NaN, but not null. Equal lengths keep the positions in its messages right.
    return _NULLS.sub(lambda match: "NaN " if match[0] == "null" else match[0], text) if "null" in text else text


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKeyError(next(key for key in keys if keys.count(key) > 1))
    return tree


def bare_windows(document: Document, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(position, bytes) of pieces of the file with blanks for strings; no piece ends within a string or a word.

    Raises InputError for a word or a string that is far longer than any in a pose file.
    """
    while start < end:
        stop = min(start + _WINDOW, end)
        piece = _without_strings(document.data[start:stop])
        if stop < end:
            # What is left of quotes opens a string that ends beyond this piece.
            piece = piece.partition(b'"')[0] if b'"' in piece else piece.rstrip(_WORD_CHARACTERS)
        # A string that fills the whole window is as good as blanks up to its end.
        stop = start + len(piece) if piece else _string_end(document, start, end)
        for first in range(start, stop, _WINDOW):
            yield first, piece or b" " * min(_WINDOW, stop - first)
        start = stop


def _string_end(document: Document, start: int, end: int) -> int:
    if document.data[start] != ord('"'):
        raise document.error(start, f"a word of more than {_WINDOW} bytes; no number is as long")
    match = _STRINGS.match(document.data, start, min(end, start + _LONGEST_STRING))
    if match is None:
        raise document.error(start, f"a string that does not end within {_LONGEST_STRING} bytes")
    return match.end()


def _without_strings(data: bytes) -> bytes:
    """``data`` with blanks for strings, but for one that is not closed."""
    if b"\\" in data:
        return _STRINGS.sub(lambda match: b" " * len(match[0]), data)
    characters = np.frombuffer(data, np.uint8)
    is_quote = characters == ord('"')
    inside = is_quote | (is_quote.cumsum(dtype=np.int32) % 2 == 1)
    if data.count(b'"') % 2:
        inside[data.rfind(b'"') :] = False
    return np.where(inside, np.uint8(ord(" ")), characters).tobytes()


def located(document: Document, tree: Any) -> NumberText:
    """Finds the numbers of JSON that the decoder has accepted, which makes the grammar simple."""
    values, spans = array("f"), array("i")
    for start, piece in bare_windows(document, 0, len(document.data)):
        words = piece.translate(_GAPS).replace(b"true", b"    ").replace(b"false", b"     ")
        edges = np.flatnonzero(np.diff(np.frombuffer(words, np.uint8) != ord(" "), prepend=False, append=False))
        spans.frombytes((edges + start).astype(np.int32).tobytes())
        values.frombytes(parsed_floats(words.replace(b"null", b"NaN "), len(edges) // 2).tobytes())
    text = number_text(document.path, document.data, tree, values, spans)
    document.starts = text.spans[:, 0]
    return text


def check_depth(document: Document) -> None:
    """Raises InputError where brackets are nested too deeply to be parsed."""
    depth = 0
    for _, piece in bare_windows(document, 0, len(document.data)):
        depths = STEPS[np.frombuffer(piece, np.uint8)].cumsum(dtype=np.int32)
        if depth + depths.max(initial=0) > MAX_DEPTH:
            raise InputError(f"{document.path}: brackets are nested deeper than {MAX_DEPTH}; no pose file is")
        depth += int(depths[-1])


def open_document(path: Path, data: bytes, block: int = BLOCK) -> tuple[Document, int]:
    """The document, and where it begins. Raises InputError when it is in another encoding or nested too deeply."""
    if data.startswith(_OTHER_UNICODE) or b"\0" in data[:4]:
        raise InputError(f"{path}: the file is in UTF-16 or UTF-32; save it as UTF-8")
    if not data.strip():
        raise InputError(f"{path}: expected JSON, but the file is empty")
    document = Document(path, data, block)
    check_depth(document)
    return document, len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0

"""Damage for the fuzzer of the pose file readers: of bytes, and of JSON, CSV and number text along its structure."""

import codecs
import random
import re
from dataclasses import dataclass, field

# A string, a number or another word, or punctuation: all that JSON, CSV and lines of numbers are made of.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s\[\]{},:"]+|[\[\]{},:]', re.DOTALL)

DEEP = b"[" * 70 + b"]" * 70
NUMBERS = (
    b"0", b"-0", b"-0.0", b"1", b"-1", b"0.5", b"1e999", b"-1e999", b"1e-999", b"NaN", b"-NaN", b"nan", b"Infinity",
    b"-Infinity", b"null", b"true", b"false", b"1e400", b"4e38", b"1E+2", b"00", b"01", b"1.", b".5", b"+1", b"0x1",
    b"2147483648", b"9007199254740993", b"18446744073709551616", b"1_0", b"9" * 400, b"9" * 5000, b"0." + b"1" * 5000,
)  # fmt: skip
STRINGS = (
    b'""', b'"x"', b'"nose"', b'"0.jpg"', b'"\\ud800"', b'"\\u0000"', b'"\xed\xa0\x80"', b'"\xff"',
    b'"../../etc/passwd"', b'"a\\"b"', b'"\xf0\x9f\x98\x80"', b'"\\x"',
    b'"posefix_track"', b'"' + b"A" * 300 + b'"', b'"1"', b'"\\u002d1"',
)  # fmt: skip
CONTAINERS = (b"[]", b"{}", b"[[]]", b"[{}]", b"[null]", b'{"":0}', b'{"a":1,"a":2}', DEEP, b"[1,2]", b"[[1,2,3]]")
VALUES = NUMBERS + STRINGS + CONTAINERS
PIECES = (
    b'"', b"[", b"]", b"{", b"}", b",", b":", b"\\", b"\x00", b"\xff", b"\xc3", b"\r", b"\n", b"\r\n", b"\n\n",
    b" ", b"\t", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"-", b"e", b".", b"NaN", b"null", b"tru",
    b"[" * 2000, b'{"a":' * 200, b"//",
)  # fmt: skip


@dataclass(frozen=True)
class Text:
    """One file's bytes, and where its words and its values stand.

    Attributes:
        data: the bytes.
        words: (start, end) of each string, number or other word.
        values: (start, end) of each bracketed value and of each word.
    """

    data: bytes
    words: list[tuple[int, int]] = field(repr=False)
    values: list[tuple[int, int]] = field(repr=False)


def parsed_text(data: bytes) -> Text:
    """``data`` with the places that ``mutated`` aims at."""
    words, values, opened = [], [], []
    for token in _TOKENS.finditer(data):
        if token[0] in b"[{":
            opened.append(token.start())
        elif token[0] in b"]}" and opened:
            values.append((opened.pop(), token.end()))
        elif token[0] not in b",:":
            words.append(token.span())
    whole = [(0, len(data))]
    return Text(data, words or whole, values + words or whole)


def mutated(text: Text, others: list[Text], rng: random.Random) -> bytes:
    """``text`` with one to three things wrong with it, or none."""
    data = text.data
    edits: list[tuple[int, int, bytes]] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        edits.append(_edit(text, others, rng))
    # From the back, so that places before an edit stay right; one that overlaps it lands where it lands.
    for start, end, new in sorted(edits, reverse=True):
        data = data[:start] + new + data[end:]
    return _whole(data, rng) if rng.random() < 0.08 else data


def _edit(text: Text, others: list[Text], rng: random.Random) -> tuple[int, int, bytes]:
    """(start, end, new bytes) of one change."""
    kind, data = rng.random(), text.data
    if kind < 0.35:
        return *rng.choice(text.words), rng.choice(NUMBERS if rng.random() < 0.6 else VALUES)
    if kind < 0.7:
        return _value_edit(text, others, rng)
    start = rng.randrange(len(data) + 1)
    if kind < 0.8:
        return start, start, rng.choice(PIECES)
    if kind < 0.9:
        return start, min(len(data), start + rng.choice((1, 1, 2, 8, 64))), rng.choice((b"", b"", rng.choice(PIECES)))
    if kind < 0.97:
        return start, start + 1, bytes([rng.randrange(256)])
    return start, len(data), b""


def _value_edit(text: Text, others: list[Text], rng: random.Random) -> tuple[int, int, bytes]:
    start, end = rng.choice(text.values)
    value = text.data[start:end]
    match rng.randrange(7):
        case 0:
            return start, end, rng.choice(VALUES)
        case 1:
            return start, end, value + b"," + value
        case 2:
            return start, end, b"[" + value + b"]"
        case 3:
            first, last = rng.choice(text.values)
            return start, end, text.data[first:last]
        case 4:
            return _without(text.data, start, end)
        case 5:
            return start, end, value[1:-1]
        case _:
            other = rng.choice(others)
            first, last = rng.choice(other.values)
            return start, end, other.data[first:last]


def _without(data: bytes, start: int, end: int) -> tuple[int, int, bytes]:
    """The value goes, and with it a comma, and its key where it has one."""
    if data[:start].endswith(b":"):
        start = data.rfind(b'"', 0, data.rfind(b'"', 0, start))
    if data[end : end + 1] == b",":
        return start, end + 1, b""
    return start - (data[:start].endswith(b",")), end, b""


def _whole(data: bytes, rng: random.Random) -> bytes:
    """All of the text in another encoding, with other line ends, twice, or not at all."""
    match rng.randrange(9):
        case 0:
            return codecs.BOM_UTF8 + data
        case 1:
            return data.decode("latin-1").encode("utf-16")
        case 2:
            return data.decode("latin-1").encode("utf-16-be")
        case 3:
            return data.replace(b"\n", b"\r\n")
        case 4:
            return data.replace(b",", b" ,\r\n\t")
        case 5:
            return data + b"\n" + data
        case 6:
            return b""
        case 7:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
        case _:
            return data.decode("latin-1").encode("utf-32")

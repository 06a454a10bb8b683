"""Lines of numbers with white space between, as bytes plus numbers, see number_text.py."""

import re
from array import array
from pathlib import Path

from posefix_track.errors import InputError
from posefix_track.formats.number_text import NumberText, number_text

# Each digit can be matched in one way only: long numbers take no more than their length.
PLAIN_NUMBER = re.compile(
    rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE
)
_LINES = re.compile(rb"[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+")
_WORDS = re.compile(rb"\S+")


def parse_number_lines(path: Path, data: bytes) -> NumberText:
    """(line number, range of ordinals) of each line that is not blank. Raises InputError where a word is no number."""
    values, spans, tree = array("f"), array("i"), []
    for line_number, match in enumerate(_LINES.finditer(data), start=1):
        first, start = len(values), match.start()
        for word in _WORDS.finditer(match[0]):
            if not PLAIN_NUMBER.fullmatch(word[0]):
                raise InputError(f"{path}: line {line_number}: {_quoted(word[0])} is not a number")
            values.append(float(word[0]))
            spans.extend((start + word.start(), start + word.end()))
        tree += [(line_number, range(first, len(values)))] if len(values) > first else []
    return number_text(path, data, tree, values, spans)


def _quoted(word: bytes) -> str:
    return repr(word[:20].decode("utf-8", "replace"))

"""Where the packets of a Matroska or WebM file begin (RFC 9559): behind the headers, with the first cluster."""

from pathlib import Path
from typing import BinaryIO

_SEGMENT = 0x18538067
_SEEK_HEAD, _INFO, _TRACKS, _CUES, _CHAPTERS, _ATTACHMENTS, _TAGS = (
    0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1941A469, 0x1254C367,
)  # fmt: skip
_HEADER, _VOID, _CHECKSUM = 0x1A45DFA3, 0xEC, 0xBF
_PASSED = (_HEADER, _SEEK_HEAD, _INFO, _TRACKS, _CUES, _CHAPTERS, _ATTACHMENTS, _TAGS, _VOID, _CHECKSUM)
# Files have about ten; a hostile one may have billions of empty ones.
_MOST_ELEMENTS = 1000


def matroska_start(path: Path) -> int:
    """Position of the first cluster, or of whatever stands there instead of one."""
    at = 0
    with path.open("rb") as file:
        for _ in range(_MOST_ELEMENTS):
            file.seek(at)
            name, length = _number(file, keep_marker=True), _number(file, keep_marker=False)
            if name == _SEGMENT:
                at = file.tell()
            elif name in _PASSED:
                at = file.tell() + length
            else:
                break
    return at


def _number(file: BinaryIO, keep_marker: bool) -> int:
    """A number of one to eight bytes, whose first bit that is set says how many; 0 at the end of the file."""
    first = file.read(1)
    if not first or not first[0]:
        return 0
    count = 8 - first[0].bit_length()
    value = first[0] if keep_marker else first[0] & (0x7F >> count)
    return value << 8 * count | int.from_bytes(file.read(count), "big")

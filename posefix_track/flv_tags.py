"""Where the pictures of a Flash video file lie (FLV 10.1, annex E): its tags follow each other, each with its size."""

from collections.abc import Iterator
from pathlib import Path

_HEAD = 11
_SOUND, _VIDEO, _SCRIPT = 8, 9, 18
_AVC, _COMMAND, _EXTENDED = 7, 5, 0x80
# Kinds of packets that hold pictures: of AVC, and of the codecs that came later.
_PICTURES, _LATER_PICTURES = (1,), (1, 3)


def flv_packets(path: Path) -> Iterator[int]:
    """Positions of the tags that hold pictures, ascending, up to where the chain of tags is torn."""
    with path.open("rb") as file:
        at = int.from_bytes(file.read(9)[5:], "big") + 4
        while True:
            file.seek(at)
            head = file.read(_HEAD + 2)
            if len(head) < _HEAD or head[0] not in (_SOUND, _VIDEO, _SCRIPT) or any(head[8:11]):
                return
            if head[0] == _VIDEO and _holds_picture(head[_HEAD:]):
                yield at
            at += _HEAD + int.from_bytes(head[1:4], "big") + 4


def _holds_picture(data: bytes) -> bool:
    """Whether a video tag that begins so is more than a codec's settings or a command."""
    if len(data) < 2 or data[0] >> 4 == _COMMAND:
        return False
    if data[0] & _EXTENDED:
        return data[0] & 15 in _LATER_PICTURES
    return data[0] & 15 != _AVC or data[1] in _PICTURES

"""Where the packets of an MPEG program stream lie (ISO 13818-1, 2.5; ISO 11172-1): each states its length."""

from collections.abc import Iterator
from pathlib import Path

_START_CODE = b"\x00\x00\x01"
_END, _PACK, _SYSTEM = 0xB9, 0xBA, 0xBB
# Discs' images hold sectors with headers of their own.
_DISC = b"RIFF"


def program_stream_packets(path: Path) -> Iterator[int] | None:
    """Positions of the packets of all streams, ascending, up to where the chain is torn; None for images of discs."""
    with path.open("rb") as file:
        return None if file.read(4) == _DISC else _packets(path)


def _packets(path: Path) -> Iterator[int]:
    at = 0
    with path.open("rb") as file:
        while True:
            file.seek(at)
            head = file.read(14)
            if len(head) < 4 or head[:3] != _START_CODE or head[3] < _END:
                return
            if head[3] > _SYSTEM:
                yield at
            at += _length(head)


def _length(head: bytes) -> int:
    """Bytes from the start of a pack's header, an end code or a packet to what follows."""
    if head[3] == _END:
        return 4
    if head[3] == _PACK:
        is_mpeg2 = head[4:5] >= b"\x40"
        return 14 + (head[-1] & 7) if is_mpeg2 else 12
    return 6 + int.from_bytes(head[4:6], "big")

"""Where the packets of an AVI file lie (RIFF, OpenDML): its chunks state their sizes and leave no gap between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_ENTERED = (b"hdrl", b"strl", b"movi", b"rec ")
_NAME = re.compile(rb"[ -~]{4}")
_OF_STREAM = re.compile(rb"\d\d[A-Za-z_]{2}")
_BESIDES = re.compile(rb"ix\d\d|JUNK|LIST|RIFF|idx1")
_PALETTE = b"pc"
_SOUND = b"wb"


@dataclass
class _Walk:
    """What was met on the way from chunk to chunk.

    Attributes:
        streams: kinds of the streams, as "vids" and "auds".
        packets_end: up to here everything is a packet, or belongs to some.
    """

    size: int
    streams: list[bytes] = field(default_factory=list)
    packets_end: int = 0

    def is_chunk(self, name: bytes, at: int) -> bool:
        """Whether a chunk of this name may lie here; a stream's packets bear its number and the kind of its data."""
        if at >= self.packets_end:
            return _NAME.fullmatch(name) is not None
        if _OF_STREAM.fullmatch(name) is None:
            return _BESIDES.fullmatch(name) is not None
        number = int(name[:2])
        return number < len(self.streams) and (name[2:] == _SOUND) == (self.streams[number] == b"auds")


def avi_packets(path: Path, stream: int) -> Iterator[int]:
    """Positions of the data of a stream's packets, ascending, up to where the chain of chunks is torn."""
    with path.open("rb") as file:
        walk = _Walk(path.stat().st_size)
        for name, at, size in _chunks(file, walk):
            if name == b"strh":
                walk.streams.append(file.read(4))
            is_packet = at < walk.packets_end and _OF_STREAM.fullmatch(name) is not None
            # Empty packets repeat the picture before; no reader counts them.
            if is_packet and int(name[:2]) == stream and size and name[2:] != _PALETTE:
                yield at


def _chunks(file: BinaryIO, walk: _Walk) -> Iterator[tuple[bytes, int, int]]:
    """(name, position of the data, size) of all chunks that hold no others; the file stands at the data."""
    at = 0
    while (found := _chunk(file, walk, at)) is not None:
        name, size, kind = found
        if name == b"RIFF" or (name == b"LIST" and kind in _ENTERED):
            if kind == b"movi":
                # An unfinished recording does not state the size.
                walk.packets_end = min(at + 8 + size, walk.size) if size > len(kind) else walk.size
            at += 12
            continue
        file.seek(at + 8)
        yield name, at + 8, size
        end = at + 8 + size
        # Chunks start at even positions, but not all writers keep to it.
        at = end + size % 2 if size % 2 == 0 or _chunk(file, walk, end + 1) is not None else end


def _chunk(file: BinaryIO, walk: _Walk, at: int) -> tuple[bytes, int, bytes] | None:
    """(name, size, the four bytes that say what is in a list) of the chunk here; None where there can be none."""
    file.seek(at)
    head = file.read(12)
    name = head[:4]
    if len(head) < 8 or not walk.is_chunk(name, at):
        return None
    return name, int.from_bytes(head[4:8], "little"), head[8:12]

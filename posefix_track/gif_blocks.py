"""Where the pictures of a GIF lie (GIF89a): blocks follow each other, their data in parts that state their sizes."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EXTENSION, _IMAGE = 0x21, 0x2C
_HAS_PALETTE, _PALETTE_SIZE = 0x80, 7


def gif_packets(path: Path) -> Iterator[int]:
    """Where each whole picture begins, or what is said of it before, ascending, up to where the chain is torn."""
    with path.open("rb") as file:
        head = file.read(13)
        if len(head) < 13:
            return
        _skip_palette(file, head[10])
        start = 0
        while (kind := file.read(1)) in (bytes([_EXTENSION]), bytes([_IMAGE])):
            has_head = _skip_image_header(file) if kind[0] == _IMAGE else bool(file.read(1))
            if not has_head or not _skip_parts(file):
                return
            if kind[0] == _IMAGE:
                yield start
                start = file.tell()


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & _HAS_PALETTE:
        file.seek(3 << (flags & _PALETTE_SIZE) + 1, 1)


def _skip_image_header(file: BinaryIO) -> bool:
    """Place, size and palette of a picture, and the size of its codes; False where the file ends before."""
    head = file.read(9)
    if len(head) < 9:
        return False
    _skip_palette(file, head[8])
    return bool(file.read(1))


def _skip_parts(file: BinaryIO) -> bool:
    """All parts of a block's data; False where the file ends before the empty one that is the last."""
    while size := file.read(1):
        if size[0] == 0:
            return True
        file.seek(size[0], 1)
    return False

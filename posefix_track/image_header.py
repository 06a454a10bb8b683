"""Size of an image from its first bytes, so that a bomb is refused before it is decoded."""

from posefix_track.errors import InputError

# Pillow's limit at which it warns of a decompression bomb is half of this; 178 Mpixel is where it refuses.
MAX_PIXELS = 178_000_000
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_image_size(data: bytes, where: str) -> tuple[int, int]:
    """(height, width) of a JPEG, PNG, BMP or WebP image.

    Raises:
        InputError: another format, a broken header, or more than 178 million pixels.
    """
    height, width = _size(data)
    if height < 1 or width < 1:
        raise InputError(f"{where} is not a readable JPEG, PNG, BMP or WebP image")
    if height * width > MAX_PIXELS:
        raise InputError(f"{where} has {width}x{height} pixels; at most {MAX_PIXELS // 10**6} million are read")
    return height, width


def _size(data: bytes) -> tuple[int, int]:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _big(data[20:24]), _big(data[16:20])
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:2] == b"BM":
        height = int.from_bytes(data[22:26], "little", signed=True)  # negative: rows from top to bottom
        return abs(height), _little(data[18:22])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_SIZE_MARKERS:
            return _big(data[at + 5 : at + 7]), _big(data[at + 7 : at + 9])
        # Fill bytes are one long; every other segment carries its length.
        at += 1 if marker == 0xFF else 2 + _big(data[at + 2 : at + 4])
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return _little(data[27:30]) + 1, _little(data[24:27]) + 1
    if kind == b"VP8L":
        bits = _little(data[21:25])
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return _little(data[28:30]) & 0x3FFF, _little(data[26:28]) & 0x3FFF


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")

"""Frame numbers and videos as file names state them."""

import re

# Eighteen digits always fit into 64 bits; no frame number is longer.
_TRAILING_NUMBER = re.compile(r"(.*?)([0-9]{1,18})", re.DOTALL)
_NUMBERED_IMAGE = re.compile(r"([0-9]{1,18})\.[A-Za-z0-9]{1,5}")


def split_number(stem: str) -> tuple[str, int | None]:
    """("clip_", 12) for "clip_000012": what comes before the trailing digits, and their value."""
    match = _TRAILING_NUMBER.fullmatch(stem)
    return (match[1], int(match[2])) if match else (stem, None)


def image_number(image_name: str) -> int | None:
    """12 for "images/clip/000012.jpg"; None where the name is more than a number."""
    match = _NUMBERED_IMAGE.fullmatch(re.split(r"[/\\]", image_name)[-1])
    return int(match[1]) if match else None

"""The header of a safetensors file, read within limits before anything else of an untrusted file is."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from posefix_track.errors import InputError

# This project's files have some hundred tensors, and headers of some ten kilobytes.
_MAX_HEADER_BYTES = 1_000_000
_MAX_TENSORS = 5_000
_BYTES = {"F16": 2, "F32": 4, "I64": 8}


@dataclass(frozen=True)
class WeightsHeader:
    """Metadata texts by name, and the shape of every tensor."""

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def read_header(path: Path) -> WeightsHeader:
    """Read the header.

    Raises:
        InputError: not safetensors, a header of more than 1 MB or 5000 tensors, types other than float16, float32 and
            int64, or tensors that do not fill the file exactly.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= _MAX_HEADER_BYTES:
                raise ValueError(f"a header of {size} bytes, expected at most {_MAX_HEADER_BYTES}")
            entries = json.loads(file.read(size))
        return _checked(entries, path.stat().st_size - 8 - size)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from error


def _checked(entries: dict[str, Any], data_bytes: int) -> WeightsHeader:
    metadata = {str(name): str(text) for name, text in entries.pop("__metadata__", {}).items()}
    if len(entries) > _MAX_TENSORS:
        raise ValueError(f"{len(entries)} tensors, expected at most {_MAX_TENSORS}")
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: tuple(entry["data_offsets"])):
        first, last = entry["data_offsets"]
        if entry["dtype"] not in _BYTES or min(entry["shape"], default=1) < 0:
            raise ValueError(f"expected tensors of {', '.join(_BYTES)}, got {entry['dtype']} {entry['shape']}")
        if first != end or last - first != prod(entry["shape"]) * _BYTES[entry["dtype"]]:
            raise ValueError("its tensors overlap, leave gaps or are of another size than they say")
        end = last
    if end != data_bytes:
        raise ValueError(f"expected {end} bytes of tensors, got {data_bytes}")
    return WeightsHeader(metadata, {name: tuple(entry["shape"]) for name, entry in entries.items()})

"""Checkpoints of a running training: everything that the next step depends on, written atomically."""

import os
from pathlib import Path
from typing import Any

import torch

from posefix_track.errors import InputError, ResourceError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) so that ``path`` always holds a whole checkpoint.

    Raises:
        ResourceError: it cannot be written, on a full disk for example; the last one is still there.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer wraps what the file raises
        temporary.unlink(missing_ok=True)
        last = "the last checkpoint is intact" if path.is_file() else "there is no earlier one"
        raise ResourceError(f"{path}: cannot be written ({error}); {last}; make room and start again") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Only tensors and plain values are accepted, never pickled code."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise InputError(f"{path}: not a readable checkpoint: {error}") from error
    return state


def differing_settings(one: dict[str, Any], other: dict[str, Any], where: str = "") -> list[str]:
    """Names of the settings that differ between two recipes' plain values."""
    names = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += differing_settings(a, b, f"{where}{name}.")
        elif a != b:
            names.append(f"{where}{name}")
    return names

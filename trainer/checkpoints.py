"""Checkpoints of a running training: everything that the next step depends on, written atomically."""

import os
from pathlib import Path
from typing import Any

import torch

from posefix_track.errors import InputError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) so that ``path`` always holds a whole checkpoint."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Only tensors and plain values are accepted, never pickled code."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise InputError(f"{path}: not a readable checkpoint: {error}") from error
    return state

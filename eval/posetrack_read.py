"""Reads a PoseTrack 2018, PoseTrack21 or PoseTrack 2017 file into columns; every fault is an InputError."""

from pathlib import Path
from typing import Literal

import orjson

from eval.posetrack17 import parse_posetrack17
from eval.posetrack18 import parse_posetrack18
from eval.posetrack_frames import PoseFile
from posefix_track.errors import InputError

Role = Literal["ground truth", "prediction"]


def read_posetrack(path: Path, role: Role) -> PoseFile:
    """Everything the evaluation needs of one file.

    Args:
        path: a PoseTrack file: a dictionary with `annolist` (2017) or with `images`, `annotations` and `categories`.
        role: a ground truth needs head boxes; a prediction may have joint scores.

    Raises:
        InputError: the file is missing, is not strict JSON or breaks its format; the message names the place.
    """
    document = _load(path)
    if "annolist" in document:
        return parse_posetrack17(document, str(path), role == "ground truth")
    return parse_posetrack18(document, str(path), role == "ground truth")


def _load(path: Path) -> dict[str, object]:
    try:
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"{path}: is not strict JSON ({error}), which has no NaN or Infinity; an absent joint is 0, 0, 0"
        ) from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a PoseTrack file (one dictionary), got a {type(document).__name__}")
    return document

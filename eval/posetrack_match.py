"""Finds the ground truth's frames in a prediction, by image id or by file name, never by position."""

from collections.abc import Hashable, Sequence
from pathlib import PurePosixPath

import numpy as np

from eval.posetrack_frames import Int, PoseFile
from posefix_track.errors import InputError

# How much of a path tells frames apart: all of it, the folder and the name, the name.
_WHOLE, _FOLDER_AND_NAME, _NAME = 0, 2, 1


def match_frames(truth: PoseFile, prediction: PoseFile) -> Int:
    """int64 [F of the prediction]: each predicted frame's position in the ground truth.

    Frames are matched by image id; where the ids differ, by file name (whole, with its folder, or alone).

    Raises:
        InputError: the two files do not list the same frames, or ids and file names contradict each other.
    """
    match = _match_ids(truth, prediction)
    if match is None:
        match = _match_names(truth, prediction)
    else:
        _check_names(truth, prediction, match)
    if match is None:
        raise _mismatch(truth, prediction)
    return np.array(match, dtype=np.int64)


def _match(truth: Sequence[Hashable], prediction: Sequence[Hashable]) -> list[int] | None:
    """Positions in ``truth``, if both hold the same keys once each."""
    position = {key: i for i, key in enumerate(truth)}
    if len(position) != len(truth) or len(prediction) != len(truth) or set(prediction) != set(position):
        return None
    return [position[key] for key in prediction]


def _match_ids(truth: PoseFile, prediction: PoseFile) -> list[int] | None:
    if truth.image_ids is None or prediction.image_ids is None:
        return None
    return _match(truth.image_ids, prediction.image_ids)


def _match_names(truth: PoseFile, prediction: PoseFile) -> list[int] | None:
    for depth in (_WHOLE, _FOLDER_AND_NAME, _NAME):
        match = _match(_tails(truth.image_names, depth), _tails(prediction.image_names, depth))
        if match is not None:
            return match
    return None


def _tails(names: Sequence[str], depth: int) -> list[tuple[str, ...]]:
    return [PurePosixPath(name.replace("\\", "/")).parts[-depth:] for name in names]


def _check_names(truth: PoseFile, prediction: PoseFile, match: list[int]) -> None:
    """Names that the ground truth does not know are free; a known one must not belong to another frame."""
    for depth in (_NAME, _FOLDER_AND_NAME, _WHOLE):
        position = {tail: i for i, tail in enumerate(_tails(truth.image_names, depth))}
        if len(position) == len(truth):
            break
    else:
        return
    for row, tail in enumerate(_tails(prediction.image_names, depth)):
        if position.get(tail, match[row]) != match[row]:
            raise InputError(
                f"{prediction.where}: image id {(prediction.image_ids or ())[row]} is {prediction.image_names[row]!r} "
                f"here and {truth.image_names[match[row]]!r} in {truth.where}; copy id and file_name of every image "
                "from the ground truth"
            )


def _mismatch(truth: PoseFile, prediction: PoseFile) -> InputError:
    """The error that says which frames differ, in the key that has more of them in common."""
    ids = (truth.image_ids or (), prediction.image_ids or ())
    names = (truth.image_names, prediction.image_names)
    wanted, given = max((names, ids), key=lambda keys: len(set(keys[0]) & set(keys[1])))
    known, listed = set(wanted), set(given)
    missing, unknown = [key for key in wanted if key not in listed], [key for key in given if key not in known]
    return InputError(
        f"{prediction.where}: does not list the same frames as {truth.where}: it lists {len(given)} and should list "
        f"{len(wanted)}{_some(missing, 'missing')}{_some(unknown, 'unknown')}; list every frame of the ground truth "
        "once under 'images', with people or without"
    )


def _some(keys: Sequence[object], what: str) -> str:
    return f", {len(keys)} {what} (first: {keys[0]!r})" if keys else ""

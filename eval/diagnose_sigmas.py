"""Which OKS constants to judge with."""

from pathlib import Path
from typing import Any

import numpy as np

from eval.coco_files import finite_numbers, read_json
from posefix_track.errors import InputError, UsageError
from posefix_track.keypoints import COCO_17, POSETRACK_18, KeypointSet
from posefix_track.oks import Float64

_NAMED = {"coco": COCO_17, "posetrack": POSETRACK_18}


def read_sigmas(choice: str | None, keypoint_set: KeypointSet) -> Float64:
    """OKS sigmas of the joints of ``keypoint_set``.

    Args:
        choice: None for the set's own, by joint name. ``coco`` or ``posetrack`` for those of that set slot by slot (so
            that ``coco`` gives PoseTrack's head joints the constant of the eyes, as several codebases do). Otherwise a
            JSON file: a list of one number per joint, or an object of joint names.
        keypoint_set: the joints to judge.

    Returns:
        float64 [K], positive.

    Raises:
        UsageError: a named set of another number of joints.
        InputError: a file without a positive number for every joint.
    """
    if choice is None:
        return keypoint_set.sigmas
    if choice in _NAMED:
        if len(_NAMED[choice]) != len(keypoint_set):
            raise UsageError(f"--sigmas {choice} has {len(_NAMED[choice])} joints, the annotations {len(keypoint_set)}")
        return _NAMED[choice].sigmas
    return _from_file(read_json(Path(choice)), choice, keypoint_set)


def _from_file(content: Any, where: str, keypoint_set: KeypointSet) -> Float64:
    listed = [content.get(joint) for joint in keypoint_set.joints] if isinstance(content, dict) else content
    sigmas = finite_numbers(listed, len(keypoint_set))
    if sigmas is None or not (sigmas > 0).all():
        raise InputError(f"{where}: expected {len(keypoint_set)} positive sigmas, a list or an object of joint names")
    return np.asarray(sigmas)

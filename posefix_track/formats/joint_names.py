"""Joint names that users have made up: LShoulder, l_shoulder and "Left Shoulder" are all left_shoulder."""

import re
from collections.abc import Sequence
from pathlib import Path

from posefix_track.errors import InputError
from posefix_track.keypoints import KEYPOINT_SETS, UNION_19, KeypointSet, keypoint_set_by_joints

# With fewer there is hardly a pose, and most likely no human.
_LEAST_JOINTS = 6
_SIDES = {"l": "left", "lt": "left", "left": "left", "r": "right", "rt": "right", "right": "right"}
_ALIASES = {
    "sho": "shoulder", "elb": "elbow", "wri": "wrist", "kne": "knee", "ank": "ankle", "headtop": "head_top",
    "top_of_head": "head_top", "top_head": "head_top", "headbottom": "head_bottom", "upper_neck": "head_bottom",
    "midhip": "mid_hip", "bigtoe": "big_toe", "smalltoe": "small_toe",
}  # fmt: skip
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
_KNOWN = {joint for known in KEYPOINT_SETS.values() for joint in known.joints}
_SIDED = {joint.partition("_")[2] for joint in _KNOWN if joint.startswith("left_")} | set(_ALIASES)


def canonical_joint(name: str) -> str:
    """The name that keypoint sets use for the joint; any other name in lower case with underscores."""
    words = [word.lower() for word in _WORD_ENDS.split(name) if word]
    if len(words) == 1:
        words = _split_side(words[0])
    sides = [_SIDES[word] for word in words if word in _SIDES]
    part = "_".join(word for word in words if word not in _SIDES)
    return "_".join([*sides[:1], _ALIASES.get(part, part)])


def _split_side(word: str) -> list[str]:
    """["l", "shoulder"] for "lshoulder" and "shoulderl"."""
    for side in sorted(_SIDES, key=len, reverse=True):
        if word.startswith(side) and word.removeprefix(side) in _SIDED:
            return [side, word.removeprefix(side)]
        if word.endswith(side) and word.removesuffix(side) in _SIDED:
            return [side, word.removesuffix(side)]
    return [word]


def human_set(path: Path, names: Sequence[str]) -> KeypointSet:
    """The registered set of these joints, else one of their own called "custom", with canonical names where known.

    Raises InputError when hardly any of them is a human joint.
    """
    joints = [canonical_joint(name) for name in names]
    # Where two names come to the same, only one can be the joint; the other keeps the name that its user gave it.
    joints = [
        joint if joint in _KNOWN and joint not in joints[:i] else name
        for i, (joint, name) in enumerate(zip(joints, names, strict=True))
    ]
    found = [joint for joint in joints if joint in UNION_19.index]
    if len(found) < _LEAST_JOINTS or len(set(joints)) < len(joints):
        raise InputError(
            f"{path}: {len(found)} of the body parts {', '.join(names)[:200]} are human joints, but at least"
            f" {_LEAST_JOINTS} different ones are needed; name them like left_shoulder,"
            " or say which they are with --keypoints SET"
        )
    return keypoint_set_by_joints(joints) or KeypointSet("custom", tuple(joints))

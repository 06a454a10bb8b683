"""New pose files in the formats of other tools: file name -> bytes for one sequence of people with the right joints.

Coordinates get 2 decimals, scores 4.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.file_names import image_number
from posefix_track.formats.rounding import rounded_joints
from posefix_track.poses import FramePoses, PoseSequence


def file_name(text: str) -> str:
    """``text`` without what could lead out of a folder: names come from files that nobody has checked."""
    return re.sub(r"[^\w.-]+", "_", text)


def dumped(content: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def person_score(frame: FramePoses, i: int, joints: npt.NDArray[np.float64]) -> float:
    """The person's own score, else the mean of its joints': both tools rank people by it, so there has to be one."""
    if frame.person_scores is not None and np.isfinite(frame.person_scores[i]):
        return round(float(frame.person_scores[i]), 4)
    found = joints[joints[:, 2] > 0, 2]
    return round(float(found.mean()), 4) if len(found) else 0.0


def track_id(frame: FramePoses, i: int) -> int | str | None:
    """A person's id as JSON can have it."""
    found = None if frame.track_ids is None else frame.track_ids[i]
    return found if found is None or isinstance(found, int) else str(found)


def frame_number(frame: FramePoses, tool: str) -> int:
    """The frame's number. Raises InputError where it has none."""
    if frame.frame_index is None:
        raise InputError(f"{frame!r} has no number, but {tool} tells frames by numbers; try --to alphapose")
    return frame.frame_index


def numbered(sequence: PoseSequence) -> PoseSequence:
    """With whole numbers for ids: as they are where all are, else counted from 0 in the order of appearance."""
    ids = [i for frame in sequence.frames for i in frame.track_ids or () if i is not None]
    if all(type(i) is int and i >= 0 for i in ids):
        return sequence
    numbers: dict[Any, int | None] = {i: n for n, i in enumerate(dict.fromkeys(ids))} | {None: None}
    return replace(
        sequence,
        frames=tuple(
            replace(frame, track_ids=frame.track_ids and tuple(numbers[i] for i in frame.track_ids))
            for frame in sequence.frames
        ),
    )


def coco(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """COCO results. Raises InputError where a frame has no number."""
    rows: list[dict[str, Any]] = []
    for frame in sequence.frames:
        rows += _rows(frame, frame_number(frame, "a COCO result"), "track_id")
    return {name: dumped(rows)}


def alphapose(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """AlphaPose's default list."""
    rows = [row for frame in sequence.frames for row in _rows(frame, image_name(frame, "{}.jpg"), "idx")]
    return {name: dumped(rows)}


def image_name(frame: FramePoses, pattern: str) -> str:
    """The frame's picture, unless its name would be taken for another frame number."""
    if frame.frame_index is None or (frame.image_name and image_number(frame.image_name) == frame.frame_index):
        return frame.image_name or ""
    return pattern.format(frame.frame_index)


def _rows(frame: FramePoses, image_id: int | str, id_key: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i, joints in enumerate(rounded_joints(frame)):
        row: dict[str, Any] = {"image_id": image_id, "category_id": 1, "keypoints": joints.ravel().tolist()}
        row["score"] = person_score(frame, i, joints)
        rows.append(row if (found := track_id(frame, i)) is None else {**row, id_key: found})
    return rows


def posetrack18(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """A PoseTrack 2018 prediction file."""
    return {name: dumped(posetrack18_content(sequence, name))}


def posetrack18_content(sequence: PoseSequence, name: str) -> dict[str, list[dict[str, Any]]]:
    """What a PoseTrack 2018 prediction file holds."""
    pattern = f"images/{name.removesuffix('.json')}/{{:06d}}.jpg"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, frame in enumerate(numbered(sequence).frames):
        images.append({"id": number, "frame_id": number, "file_name": image_name(frame, pattern)})
        for i, joints in enumerate(rounded_joints(frame)):
            flags = np.where(joints[:, 2:] > 0, 1, 0)
            annotation: dict[str, Any] = {"id": 100 * number + i, "image_id": number, "category_id": 1}
            annotation["keypoints"] = np.concatenate([joints[:, :2], flags], axis=-1).ravel().tolist()
            annotation["scores"] = [] if frame.scores is None else joints[:, 2].tolist()
            if frame.person_scores is not None and np.isfinite(frame.person_scores[i]):
                annotation["score"] = round(float(frame.person_scores[i]), 4)
            if (found := track_id(frame, i)) is not None:
                annotation["track_id"] = found
            annotations.append(annotation)
    category = {"supercategory": "person", "id": 1, "name": "person", "keypoints": [*sequence.keypoint_set.joints]}
    return {"images": images, "annotations": annotations, "categories": [category]}


def openpose(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """One file a frame. Raises InputError when two frames would have the same."""
    return openpose_files(sequence, lambda frame: f"{_openpose_stem(frame, name)}_keypoints.json")


def openpose_files(sequence: PoseSequence, file_of: Callable[[FramePoses], str]) -> dict[str, bytes]:
    """OpenPose's content of every frame, in the file that ``file_of`` names."""
    files: dict[str, bytes] = {}
    for frame in numbered(sequence).frames:
        file = file_of(frame)
        if file in files:
            raise InputError(f"two frames would be written to {file}, which holds one")
        files[file] = dumped({"version": 1.3, "people": openpose_people(frame)})
    return files


def openpose_people(frame: FramePoses) -> list[dict[str, Any]]:
    """The people of an OpenPose file."""
    ids = [-1 if (found := track_id(frame, i)) is None else found for i in range(len(frame))]
    return [
        {"person_id": [found], "pose_keypoints_2d": joints.ravel().tolist()}
        for found, joints in zip(ids, rounded_joints(frame), strict=True)
    ]


def _openpose_stem(frame: FramePoses, name: str) -> str:
    if frame.frame_index is not None:
        return f"{name}_{frame.frame_index:012d}"
    return file_name(PurePosixPath(frame.image_name or "").stem)

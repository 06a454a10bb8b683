"""posefix_track's own JSON lines: a header that names the joints, then one line a frame.

    {"format": "posefix_track", "version": 1, "video": {"path": "v.mp4", ...}, "keypoints": ["nose", ...]}
    {"frame": 0, "poses": [{"id": 3, "score": 0.91, "keypoints": [[x, y, score], ...]}, ...]}

``frame`` is 0-based; an absent joint is [0, 0, 0]; a file without joint scores has [x, y]; ``id`` and ``score`` are
optional. Readers ignore keys that they do not know, so that files may carry more.
"""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError, ResourceError
from posefix_track.formats.atomic import write_file
from posefix_track.formats.number_text import NumberText, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rounding import rounded_joints
from posefix_track.formats.rows import (
    FrameRows,
    JointNames,
    Person,
    nested_joints,
    optional_id,
    optional_score,
    pose_file,
)
from posefix_track.formats.source import Format, Options, Source
from posefix_track.poses import FramePoses, PoseSequence

_NAME = "posefix_track"
_VERSION = 1


def _matches(source: Source) -> bool:
    if source.kind != "json_lines" or not source.trees[0]:
        return False
    header = source.trees[0][0][1]
    return is_object(header) and header.get("format") == _NAME


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    if not text.tree:
        raise text.error("", f"expected a header line with format {_NAME!r}, but the file is empty")
    line, header = text.tree[0]
    names = _joint_names(text, header, f"line {line}")
    frames = [_frame(text, tree, f"line {number}") for number, tree in islice(text.tree, 1, None)]
    return pose_file("posefix", source.path, [text], {"": frames}, JointNames(options.keypoints, names))


def _joint_names(text: NumberText, header: Any, where: str) -> tuple[str, ...]:
    header = text.record(header, where, "format", "version", "keypoints")
    if header["format"] != _NAME:
        raise text.error(where, f"expected a header with format {_NAME!r}")
    version = text.number(header["version"], f"{where}: version")
    if version != _VERSION:
        raise text.error(where, f"version {version:g} is not known, only {_VERSION}; a newer posefix_track may read it")
    names = text.items(header["keypoints"], f"{where}: keypoints")
    if not names or not all(isinstance(name, str) for name in names):
        raise text.error(where, "keypoints must be a list of joint names")
    return tuple(names)


def _frame(text: NumberText, tree: Any, where: str) -> FrameRows:
    record = text.record(tree, where, "frame", "poses")
    frame = FrameRows(frame_index=text.index(record["frame"], f"{where}: frame"))
    for i, pose in enumerate(text.items(record["poses"], f"{where}: poses")):
        frame.add(_person(text, pose, f"{where}: poses[{i}]"))
    return frame


def _person(text: NumberText, pose: Any, where: str) -> Person:
    record = text.record(pose, where, "keypoints")
    joints = nested_joints(text, record["keypoints"], f"{where}.keypoints", with_scores=True)
    scores = joints[:, 2] if joints.shape[1] == 3 else None
    score, track_id = optional_score(text, record, "score", where), optional_id(text, record, "id", where)
    return Person(where, joints[:, :2], scores, score, track_id)


def write_native(path: Path, sequence: PoseSequence, video: Mapping[str, Any]) -> None:
    """Writes ``sequence`` as a new file; ``video`` describes the frames (path, width, height, fps, ...), as JSON.

    Coordinates get 2 decimals, scores 4. Ids that JSON has no number or string for become strings.

    Raises:
        InputError: a frame has no ``frame_index``.
        ResourceError: the disk does not take it.
    """
    data = native_bytes(sequence, video)
    try:
        write_file(path, data)
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {error.strerror or error}") from error


def native_bytes(sequence: PoseSequence, video: Mapping[str, Any]) -> bytes:
    """What ``write_native`` writes. Raises InputError where a frame has no ``frame_index``."""
    joints = list(sequence.keypoint_set.joints)
    header = {"format": _NAME, "version": _VERSION, "video": dict(video), "keypoints": joints}
    lines = [header, *(_frame_record(frame) for frame in sequence.frames)]
    return "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines).encode()


def _frame_record(frame: FramePoses) -> dict[str, Any]:
    if frame.frame_index is None:
        raise InputError(f"{frame!r} has no frame_index, which posefix_track's own format needs")
    joints = rounded_joints(frame)[..., : 2 if frame.scores is None else 3]
    poses = [_pose_record(frame, i, joints[i]) for i in range(len(frame))]
    return {"frame": frame.frame_index, "poses": poses}


def _pose_record(frame: FramePoses, i: int, joints: npt.NDArray[np.float64]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    if frame.track_ids is not None and frame.track_ids[i] is not None:
        track_id = frame.track_ids[i]
        record["id"] = int(track_id) if isinstance(track_id, int | np.integer) else str(track_id)
    if frame.person_scores is not None and np.isfinite(frame.person_scores[i]):
        record["score"] = round(float(frame.person_scores[i]), 4)
    return {**record, "keypoints": joints.tolist()}


FORMAT = Format("posefix", "posefix_track's own JSON lines", "json_lines", _matches, _read)

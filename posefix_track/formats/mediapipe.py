"""MediaPipe pose landmarks as users save them: frames of poses of 33 {x, y, z, visibility}, divided by the frame size.

There is no file format of MediaPipe's own. Read are a JSON list of frames and JSON lines, where a frame is a list of
poses, one pose, nothing, or an object that has one of these as ``pose_landmarks`` or ``landmarks`` and maybe its number
as ``frame``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from posefix_track.formats.number_text import NumberText, Ordinals, is_list, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import FrameRows, JointNames, Person, pose_file
from posefix_track.formats.source import Format, Options, Source
from posefix_track.keypoints import MEDIAPIPE_33

_LANDMARK_KEYS = ("pose_landmarks", "landmarks")
_FRAME_KEYS = ("frame", "frame_index", "frame_id")


def _matches(source: Source) -> bool:
    if source.kind not in ("json", "json_lines") or len(source.texts) > 1:
        return False
    if not (is_list(source.trees[0]) or is_object(source.trees[0])):
        return False
    poses = next((poses for _, entry in _entries(source) if (poses := _poses(entry))), [])
    pose = poses[0] if poses else None
    landmark = pose[0] if is_list(pose) and len(pose) == len(MEDIAPIPE_33) else None
    return is_object(landmark) and {"x", "y"} <= landmark.keys()


def _entries(source: Source) -> Iterator[tuple[str, Any]]:
    """(place, entry) of each frame; the first frame is number 0."""
    tree = source.trees[0]
    if source.kind == "json_lines":
        return ((f"line {line}", entry) for line, entry in tree)
    if is_object(tree) or _is_pose(tree):
        return iter([("", tree)])
    return ((f"[{i}]", entry) for i, entry in enumerate(source.texts[0].items(tree, "")))


def _is_pose(value: Any) -> bool:
    return is_list(value) and bool(value) and is_object(value[0]) and "x" in value[0]


def _poses(entry: Any) -> Sequence[Any]:
    """The poses of one frame; null and other things that are no poses are none."""
    if is_object(entry):
        entry = next((entry[key] for key in _LANDMARK_KEYS if key in entry), [])
    if _is_pose(entry):
        return [entry]
    return entry if is_list(entry) else []


def _read(source: Source, options: Options) -> PoseFile:
    scale = options.normalised_scale(source.path, "MediaPipe landmarks")
    text = source.texts[0]
    frames = []
    for position, (where, entry) in enumerate(_entries(source)):
        key = next((key for key in _FRAME_KEYS if is_object(entry) and key in entry), None)
        frame = FrameRows(frame_index=position if key is None else text.index(entry[key], f"{where}.{key}"))
        for i, pose in enumerate(_poses(entry)):
            frame.add(_person(text, pose, f"{where}[{i}]"))
        frames.append(frame)
    joints = JointNames(options.keypoints, usual=MEDIAPIPE_33)
    return pose_file("mediapipe", source.path, [text], {"": _with_likely_scores(text, frames)}, joints, scale)


def _person(text: NumberText, pose: Any, where: str) -> Person:
    landmarks = [text.record(landmark, f"{where}[{i}]", "x", "y") for i, landmark in enumerate(text.items(pose, where))]
    xy = [landmark[axis] for landmark in landmarks for axis in ("x", "y")]
    return Person(where, text.ordinals(xy, where).reshape(-1, 2), _visibility(text, landmarks, where))


def _visibility(text: NumberText, landmarks: list[Mapping[str, Any]], where: str) -> Ordinals | None:
    if not all("visibility" in landmark for landmark in landmarks):
        return None
    return text.ordinals([landmark["visibility"] for landmark in landmarks], where)


def _with_likely_scores(text: NumberText, frames: list[FrameRows]) -> list[FrameRows]:
    """Some models give visibility before the sigmoid, where 0 does not mean absent: then it is no score."""
    found = [text.values[p.scores] for frame in frames for p in frame.people if p.scores is not None]
    values = np.concatenate([np.zeros(1, np.float32), *found])
    if bool((~(values < 0) & ~(values > 1)).all()):
        return frames
    return [replace(frame, people=[replace(person, scores=None) for person in frame.people]) for frame in frames]


FORMAT = Format("mediapipe", "MediaPipe pose landmarks as nested JSON lists", None, _matches, _read)

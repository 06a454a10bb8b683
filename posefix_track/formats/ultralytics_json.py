"""Ultralytics ``to_json`` / ``summary()``: a list of people a frame, collected by the user.

File format: ultralytics/engine/results.py. One call's list is one image; users keep a list of such lists, or JSON
lines. Nothing in it says which frame it is, so the position in the list has to.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from posefix_track.formats.image_files import by_video, file_frame
from posefix_track.formats.number_text import NumberText, is_list, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import FrameRows, JointNames, Person, optional_id, optional_score, pose_file
from posefix_track.formats.source import Format, Options, Source

# to_json(normalize=True) divides by the frame size; joints outside of the picture are clipped to it.
_NORMALISED_LIMIT = 1.0


def _matches(source: Source) -> bool:
    if source.kind not in ("json", "json_lines"):
        return False
    for text in source.texts:
        for entry in _entries(text) if is_list(text.tree) else ():
            row = entry[0] if is_list(entry) and entry else entry
            if is_object(row):
                joints = row.get("keypoints")
                return is_object(joints) and {"x", "y"} <= joints.keys()
    return False


def _entries(text: NumberText) -> Iterator[Any]:
    """What the file has for each frame; for a file of one image its people."""
    return (entry[1] if type(entry) is tuple else entry for entry in text.items(text.tree, ""))


def _read(source: Source, options: Options) -> PoseFile:
    videos: dict[str, list[FrameRows]] = {"": []}
    images: list[FrameRows] = []
    for i, text in enumerate(source.texts):
        if source.kind == "json_lines" or not any(is_object(entry) for entry in _entries(text)):
            entries = enumerate(_entries(text))
            videos[""] += [_frame(text, FrameRows(i, j), entry, f"[{j}]") for j, entry in entries]
        else:
            images.append(_frame(text, file_frame(i, text.path.stem), text.tree, ""))
    for name, frames in by_video(images).items():
        videos[name] = videos.get(name, []) + frames
    videos = {name: frames for name, frames in videos.items() if frames} or {"": []}
    scale = _scale(source, options, [frame for frames in videos.values() for frame in frames])
    return pose_file("ultralytics_json", source.path, source.texts, videos, JointNames(options.keypoints), scale)


def _frame(text: NumberText, frame: FrameRows, people: Any, where: str) -> FrameRows:
    for i, value in enumerate(text.items(people, where)):
        frame.add(_person(text, value, f"{where}[{i}]"))
    return frame


def _person(text: NumberText, value: Any, where: str) -> Person:
    record = text.record(value, where, "keypoints")
    joints = text.record(record["keypoints"], f"{where}.keypoints", "x", "y")
    columns = {key: text.ordinals(joints[key], f"{where}.keypoints.{key}") for key in ("x", "y", "visible")
               if key in joints}  # fmt: skip
    if len({len(column) for column in columns.values()}) > 1:
        raise text.error(f"{where}.keypoints", "x, y and visible must be equally long")
    keypoints = np.stack([columns["x"], columns["y"]], axis=-1)
    score, track_id = optional_score(text, record, "confidence", where), optional_id(text, record, "track_id", where)
    return Person(where, keypoints, columns.get("visible"), score, track_id)


def _scale(source: Source, options: Options, frames: list[FrameRows]) -> tuple[float, float] | None:
    found = [source.texts[f.text].values[person.keypoints].ravel() for f in frames for person in f.people]
    largest = np.nanmax(np.abs(np.concatenate(found)), initial=0) if found else 0
    if not 0 < largest <= _NORMALISED_LIMIT:
        return None
    return options.normalised_scale(source.path, "these Ultralytics coordinates")


FORMAT = Format("ultralytics_json", "Ultralytics to_json lists, one a frame", None, _matches, _read)

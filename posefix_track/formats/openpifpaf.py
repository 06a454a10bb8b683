"""openpifpaf: JSON lines of a video, one line a frame, and the JSON lists of its image mode, one file an image.

File format: openpifpaf's src/openpifpaf/video.py and annotation.py. Frames are numbered from 1. An id is only written
where it is not 0.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from posefix_track.formats.image_files import by_video, file_frame
from posefix_track.formats.number_text import NumberText, is_list, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import (
    FrameRows,
    JointNames,
    Person,
    flat_triplets,
    optional_id,
    optional_score,
    pose_file,
)
from posefix_track.formats.source import Format, Options, Source

_SUFFIX = ".predictions"


def _matches(source: Source) -> bool:
    if source.kind == "json_lines" or is_object(source.trees[0]):
        _, first = next(iter(_lines(source.texts[0])), (0, None))
        return is_object(first) and {"frame", "predictions"} <= first.keys()
    return source.kind == "json" and any(_is_image(tree) for tree in source.trees)


def _is_image(tree: Any) -> bool:
    """Whether this is a list of people who name no image."""
    row = tree[0] if is_list(tree) and tree else None
    return (
        is_object(row)
        and {"keypoints", "bbox", "category_id"} <= row.keys()
        and "image_id" not in row
        and is_list(row["keypoints"])
    )


def _lines(text: NumberText) -> Iterable[tuple[int, Any]]:
    """(line number, frame) pairs; a file of one line may have been parsed as one document."""
    return [(1, text.tree)] if is_object(text.tree) else text.tree


def _read(source: Source, options: Options) -> PoseFile:
    joints = JointNames(options.keypoints)
    if source.kind == "json_lines" or is_object(source.trees[0]):
        return pose_file("openpifpaf", source.path, source.texts[:1], {"": _video(source.texts[0])}, joints)
    frames = []
    for i, text in enumerate(source.texts):
        frame = file_frame(i, Path(text.path.stem.removesuffix(_SUFFIX)).stem)
        _add_people(text, frame, text.items(text.tree, ""), "")
        frames.append(frame)
    return pose_file("openpifpaf", source.path, source.texts, by_video(frames), joints)


def _video(text: NumberText) -> list[FrameRows]:
    found = []
    for line, tree in _lines(text):
        record = text.record(tree, f"line {line}", "frame", "predictions")
        place = f"line {line}: predictions"
        frame = FrameRows()
        _add_people(text, frame, text.items(record["predictions"], place), place)
        found.append((text.index(record["frame"], f"line {line}: frame"), frame.people))
    first = min([1, *(number for number, _ in found)])
    return _with_track_zero([FrameRows(frame_index=number - first, people=people) for number, people in found])


def _add_people(text: NumberText, frame: FrameRows, people: Iterable[Any], where: str) -> None:
    records = [text.record(value, f"{where}[{i}]", "keypoints") for i, value in enumerate(people)]
    for i, record in enumerate(records):
        place = f"{where}[{i}]"
        keypoints, scores = flat_triplets(text, record["keypoints"], f"{place}.keypoints")
        score, track_id = optional_score(text, record, "score", place), optional_id(text, record, "id_", place)
        frame.add(Person(place, keypoints, scores, score, track_id))


def _with_track_zero(frames: list[FrameRows]) -> list[FrameRows]:
    """openpifpaf leaves the id 0 out: whoever has no id in a file with ids is track 0."""
    if all(person.track_id is None for frame in frames for person in frame.people):
        return frames
    return [
        replace(frame, people=[replace(p, track_id=0) if p.track_id is None else p for p in frame.people])
        for frame in frames
    ]


FORMAT = Format("openpifpaf", "openpifpaf JSON lines of a video, or one file an image", None, _matches, _read)

"""COCO keypoint results: one list of people, each naming its image by number.

File format: cocodataset.org, "Results format", keypoint detection.
"""

import json
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

from posefix_track.errors import InputError
from posefix_track.formats.file_names import image_number
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

TrackId = Callable[[NumberText, Mapping[str, Any], str], Hashable]


def first_row(source: Source) -> Mapping[str, Any] | None:
    """The first entry of a JSON list of objects, or {} for an empty list; None where the source is neither."""
    tree = source.trees[0]
    if source.kind != "json" or len(source.texts) > 1 or not is_list(tree):
        return None
    return (tree[0] if is_object(tree[0]) else None) if tree else {}


def _matches(source: Source) -> bool:
    row = first_row(source)
    return row == {} or (row is not None and {"image_id", "keypoints"} <= row.keys())


def _read(source: Source, options: Options) -> PoseFile:
    return read_rows("coco", source, options, _track_id)


def _track_id(text: NumberText, row: Mapping[str, Any], where: str) -> Hashable:
    return optional_id(text, row, "track_id", where)


def read_rows(name: str, source: Source, options: Options, track_id: TrackId) -> PoseFile:
    """The poses of a JSON list with one person a row, grouped by ``image_id``; rows of one image may be anywhere."""
    text = source.texts[0]
    names = _image_names(options.annotations) if options.annotations else None
    frames: dict[Hashable, FrameRows] = {}
    for i, value in enumerate(text.items(text.tree, "")):
        where = f"[{i}]"
        row = text.record(value, where, "image_id", "keypoints")
        image_id = text.scalar(row["image_id"], f"{where}.image_id")
        if image_id not in frames:
            frames[image_id] = _frame(text, image_id, names, where)
        frames[image_id].add(_person(text, row, where, track_id))
    return pose_file(name, source.path, [text], {"": list(frames.values())}, JointNames(options.keypoints))


def _person(text: NumberText, row: Mapping[str, Any], where: str, track_id: TrackId) -> Person:
    keypoints, scores = flat_triplets(text, row["keypoints"], f"{where}.keypoints")
    return Person(where, keypoints, scores, optional_score(text, row, "score", where), track_id(text, row, where))


def _frame(text: NumberText, image_id: Hashable, names: dict[Hashable, str] | None, where: str) -> FrameRows:
    if isinstance(image_id, str):
        return FrameRows(frame_index=image_number(image_id), image_name=image_id)
    if type(image_id) is not int or image_id < 0:
        raise text.error(f"{where}.image_id", "expected a number that is not negative, or a file name")
    if names is not None and image_id in names:
        return FrameRows(image_name=names[image_id])
    # Without annotations the number may also be that of a video's frame; the caller knows whether it has a video.
    return FrameRows(frame_index=image_id if names is None else None, image_name=f"{image_id:012d}.jpg")


def _image_names(annotations: Path) -> dict[Hashable, str]:
    """Image id -> file name from an annotation file in COCO's layout."""
    try:
        images = json.loads(annotations.read_bytes())["images"]
        return {image["id"]: str(image["file_name"]) for image in images}
    except OSError as error:
        raise InputError(f"cannot read {annotations}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{annotations}: expected COCO annotations: an object with 'images' that have 'id' and 'file_name'"
        ) from None


FORMAT = Format("coco", "COCO keypoint results, one JSON list (image names: --annotations)", "json", _matches, _read)

"""OpenPose folders, one JSON file a frame; Pose2Sim writes the same with 6-digit frame numbers.

File format: OpenPose's doc/02_output.md. Only the body is read; hands, face and feet files' parts stay as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posefix_track.errors import InputError
from posefix_track.formats.file_names import split_number
from posefix_track.formats.image_files import by_video, file_frame
from posefix_track.formats.number_text import NumberText, is_list, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import FrameRows, JointNames, Person, flat_triplets, pose_file
from posefix_track.formats.source import Format, Options, Source
from posefix_track.keypoints import BODY_25

_SUFFIX = "_keypoints"
# Old versions wrote the key without _2d.
_BODY_KEYS = ("pose_keypoints_2d", "pose_keypoints")
# OpenPose scales to [0, 1] or [-1, 1] with --keypoint_scale 3 or 4; the margin is for its 6 written digits.
_NORMALISED_LIMIT = 1.0001
_MPI_JOINTS = 15


def _matches(source: Source) -> bool:
    return source.kind == "json" and any(_has_people(tree) for tree in source.trees)


def _has_people(tree: Any) -> bool:
    return is_object(tree) and is_list(tree.get("people"))


def _read(source: Source, options: Options) -> PoseFile:
    texts = [text for text in source.texts if _has_people(text.tree) or _named_as_pose(text)]
    if not texts:
        raise InputError(f"{source.path}: expected JSON files with 'people', but no file has them")
    frames = [_frame(text, i) for i, text in enumerate(texts)]
    _refuse_normalised(source, texts, frames)
    _refuse_mpi(source, frames, options)
    joints = JointNames(options.keypoints, usual=BODY_25)
    return pose_file("openpose", source.path, texts, by_video(frames), joints)


def _named_as_pose(text: NumberText) -> bool:
    return text.path.stem.endswith(_SUFFIX) or split_number(text.path.stem)[1] is not None


def _stem(text: NumberText) -> str:
    return text.path.stem.removesuffix(_SUFFIX)


def _frame(text: NumberText, index: int) -> FrameRows:
    people = text.record(text.tree, "", "people")["people"]
    frame = file_frame(index, _stem(text))
    for i, person in enumerate(text.items(people, "people")):
        where = f"people[{i}]"
        _add_person(frame, text, text.record(person, where), where)
    return frame


def _add_person(frame: FrameRows, text: NumberText, person: Mapping[str, Any], where: str) -> None:
    key = next((key for key in _BODY_KEYS if key in person), None)
    if key is not None:
        keypoints, scores = flat_triplets(text, person[key], f"{where}.{key}")
        frame.add(Person(f"{text.path.name} {where}", keypoints, scores, track_id=_person_id(text, person, where)))


def _person_id(text: NumberText, person: Mapping[str, Any], where: str) -> int | None:
    """``person_id`` is [-1] unless OpenPose ran with its tracker."""
    value = person.get("person_id", [])
    ids = text.ordinals(value if is_list(value) else [value], f"{where}.person_id")
    person_id = text.number(int(ids[0]), where) if len(ids) else -1
    return int(person_id) if 0 <= person_id < 2**53 else None


def _refuse_normalised(source: Source, texts: Sequence[NumberText], frames: Sequence[FrameRows]) -> None:
    found = [texts[frame.text].values[person.keypoints] for frame in frames for person in frame.people]
    largest = np.nanmax(np.abs(found), initial=0) if found and len({len(f) for f in found}) == 1 else 0
    if 0 < largest <= _NORMALISED_LIMIT:
        raise InputError(
            f"{source.path}: coordinates are within [-1, 1], not in pixels; run OpenPose again without --keypoint_scale"
        )


def _refuse_mpi(source: Source, frames: Sequence[FrameRows], options: Options) -> None:
    counts = {len(person.keypoints) for frame in frames for person in frame.people}
    if counts == {_MPI_JOINTS} and options.keypoints is None:
        raise InputError(
            f"{source.path}: {_MPI_JOINTS} joints are OpenPose's MPI model, which is not supported;"
            " run OpenPose with --model_pose BODY_25 or COCO"
        )


FORMAT = Format("openpose", "OpenPose or Pose2Sim folder, one JSON file a frame", "json", _matches, _read)

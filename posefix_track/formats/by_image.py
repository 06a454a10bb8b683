"""AlphaPose's objects with one entry an image: ``--format cmu``, ``--format open``, and PoseFlow's tracks.

File formats: AlphaPose's alphapose/utils/pPose_nms.py (write_json) and PoseFlow's README. Frames without people have
no entry. cmu and open also come as a folder ``sep-json`` with one entry a file.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from posefix_track.formats.file_names import image_number
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

# Key of the people -> key of a person's joints.
_JOINT_KEYS = {"bodies": "joints", "people": "pose_keypoints_2d"}


def _people_key(entry: Any) -> str | None:
    if not is_object(entry):
        return None
    return next((key for key in _JOINT_KEYS if is_list(entry.get(key))), None)


def _matches_cmu(source: Source) -> bool:
    trees = [tree for tree in source.trees if is_object(tree)] if source.kind == "json" else []
    return any(_people_key(tree) or any(map(_people_key, tree.values())) for tree in trees)


def _read_cmu(source: Source, options: Options) -> PoseFile:
    texts = source.texts
    if all(_people_key(text.tree) for text in texts):
        frames = [_add_bodies(text, file_frame(i, text.path.stem), text.tree, "") for i, text in enumerate(texts)]
        return pose_file("alphapose_cmu", source.path, texts, by_video(frames), JointNames(options.keypoints))
    return _read_entries("alphapose_cmu", source, options, _add_bodies)


def _add_bodies(text: NumberText, frame: FrameRows, entry: Any, where: str) -> FrameRows:
    key = _people_key(entry)
    if key is None:
        raise text.error(where, "expected an object with 'bodies' or 'people'")
    for place, person in _people(text, entry[key], f"{where}.{key}", _JOINT_KEYS[key]):
        frame.add(Person(place, *flat_triplets(text, person[_JOINT_KEYS[key]], f"{place}.{_JOINT_KEYS[key]}")))
    return frame


def _people(text: NumberText, people: Any, where: str, required: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for i, person in enumerate(text.items(people, where)):
        yield f"{where}[{i}]", text.record(person, f"{where}[{i}]", required)


def _read_entries(
    name: str,
    source: Source,
    options: Options,
    add_people: Callable[[NumberText, FrameRows, Any, str], FrameRows],
) -> PoseFile:
    text = source.texts[0]
    entries = text.record(text.tree, "").items()
    frames = [
        add_people(text, FrameRows(0, image_number(image), image), entry, repr(image)[:60]) for image, entry in entries
    ]
    return pose_file(name, source.path, [text], {"": frames}, JointNames(options.keypoints))


def _matches_poseflow(source: Source) -> bool:
    tree = source.trees[0]
    if source.kind != "json" or not is_object(tree) or not all(is_list(entry) for entry in tree.values()):
        return False
    first = next((entry[0] for entry in tree.values() if entry), None)
    return is_object(first) and "keypoints" in first and not {"idx", "scores"}.isdisjoint(first)


def _read_poseflow(source: Source, options: Options) -> PoseFile:
    return _read_entries("poseflow", source, options, _add_tracked)


def _add_tracked(text: NumberText, frame: FrameRows, entry: Any, where: str) -> FrameRows:
    for place, person in _people(text, entry, where, "keypoints"):
        keypoints, scores = flat_triplets(text, person["keypoints"], f"{place}.keypoints")
        score, track_id = optional_score(text, person, "scores", place), optional_id(text, person, "idx", place)
        frame.add(Person(place, keypoints, scores, score, track_id))
    return frame


CMU = Format("alphapose_cmu", "AlphaPose --format cmu or open", "json", _matches_cmu, _read_cmu)
POSEFLOW = Format("poseflow", "PoseFlow's tracks of AlphaPose", "json", _matches_poseflow, _read_poseflow)

"""PoseTrack 2017: ``annolist``, one entry an image, with every number in a list of its own.

File format: poseval's README. Joints have numbers and may be left out; images are numbered from 1.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain, compress
from typing import Any

import numpy as np

from posefix_track.formats.file_names import image_number
from posefix_track.formats.number_text import NumberText, Ordinals, is_list, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import FrameRows, JointNames, Person, optional_id, optional_score, pose_file
from posefix_track.formats.source import Format, Options, Source
from posefix_track.keypoints import POSETRACK_17

_NEEDED = frozenset(("id", "x", "y"))
_JOINTS = frozenset(range(len(POSETRACK_17)))


def _matches(source: Source) -> bool:
    return source.kind == "json" and any(is_object(tree) and "annolist" in tree for tree in source.trees)


def _read(source: Source, options: Options) -> PoseFile:
    videos: dict[str, list[FrameRows]] = {}
    for i, text in enumerate(source.texts):
        entries = text.items(text.record(text.tree, "", "annolist")["annolist"], "annolist")
        images = [_image(text, entry, f"annolist[{j}]") for j, entry in enumerate(entries)]
        first = min([1, *(number for name, _ in images if (number := image_number(name)) is not None)])
        one_video = len({name.rpartition("/")[0] for name, _ in images}) == 1
        for name, people in images:
            number = image_number(name)
            frame = FrameRows(i, None if number is None else number - first, name, people)
            videos.setdefault(text.path.stem if one_video else name.rpartition("/")[0], []).append(frame)
    joints = JointNames(options.keypoints, usual=POSETRACK_17)
    return pose_file("posetrack17", source.path, source.texts, videos or {"": []}, joints)


def _listed(text: NumberText, value: Any, where: str) -> Collection[Any]:
    """A list as it is; what tools that write single entries without a list around them leave, as a list of one."""
    return [value] if is_object(value) else text.items(value, where)


def _single(value: Any) -> Any:
    """The number or name in a list of one."""
    return value[0] if is_list(value) and len(value) == 1 else value


def _image(text: NumberText, entry: Any, where: str) -> tuple[str, list[Person]]:
    """An image's name and people."""
    return _image_name(text, entry, where), [*_people(text, entry, where)]


def _image_name(text: NumberText, entry: Any, where: str) -> str:
    image = _single(text.record(entry, where, "image")["image"])
    name = _single(text.record(image, f"{where}.image", "name")["name"])
    if not isinstance(name, str):
        raise text.error(f"{where}.image.name", "expected a file name")
    return name


def _people(text: NumberText, entry: Mapping[str, Any], where: str) -> Iterator[Person]:
    for i, value in enumerate(_listed(text, entry.get("annorect", []), f"{where}.annorect")):
        place = f"{where}.annorect[{i}]"
        person = text.record(value, place)
        # People who are only boxes are nothing to refine.
        points = [
            point
            for group in _listed(text, person.get("annopoints", []), f"{place}.annopoints")
            for point in _listed(text, text.record(group, place).get("point", []), f"{place}.annopoints.point")
        ]
        if points:
            yield _person(text, person, points, place)


def _person(text: NumberText, record: Mapping[str, Any], points: list[Any], where: str) -> Person:
    keypoints = np.full((len(POSETRACK_17), 2), -1, np.int32)
    scores = np.full(len(POSETRACK_17), -1, np.int32)
    place = f"{where}.annopoints.point"
    columns = _alike(points) or _one_by_one(text, points, place)
    joints = _joints(text, columns["id"], place)
    keypoints[joints] = np.stack([columns["x"], columns["y"]], axis=1)
    scores[joints] = columns.get("score", -1)
    single: dict[str, Any] = {key: _single(record[key]) for key in ("score", "track_id") if key in record}
    track_id = optional_id(text, single, "track_id", where)
    return Person(where, keypoints, _if_any(scores), optional_score(text, single, "score", where), track_id)


def _alike(points: list[Any]) -> dict[str, Ordinals] | None:
    """Ordinals [n] by key, where all points have the same keys, and nothing but numbers in lists of one."""
    keys = [*map(tuple, points)] if set(map(type, points)) == {dict} else []
    if not keys or not {*keys[0]} >= _NEEDED or keys.count(keys[0]) < len(keys):
        return None
    lists = [*chain.from_iterable(map(dict.values, points))]
    if not set(map(type, lists)) <= {list, range} or set(map(len, lists)) != {1}:
        return None
    numbers = [*chain.from_iterable(lists)]
    if set(map(type, numbers)) != {int}:
        return None
    return dict(zip(keys[0], np.array(numbers, np.int32).reshape(len(points), -1).T, strict=True))


def _one_by_one(text: NumberText, points: list[Any], where: str) -> dict[str, Ordinals]:
    for i, point in enumerate(points):
        text.record(point, f"{where}[{i}]", *sorted(_NEEDED))
    scored = ["score" in point for point in points]
    columns = {key: _column(text, points, key, where) for key in _NEEDED} | {
        "score": np.full(len(points), -1, np.int32)
    }
    columns["score"][scored] = _column(text, [*compress(points, scored)], "score", where)
    return columns


def _column(text: NumberText, points: list[Any], key: str, where: str) -> Ordinals:
    return text.ordinals([_single(point[key]) for point in points], f"{where}.{key}")


def _joints(text: NumberText, ordinals: Ordinals, where: str) -> Ordinals:
    joints = text.values[ordinals]
    found = joints.tolist()
    if not _JOINTS.issuperset(found) or len({*found}) < len(found):
        listed = ", ".join(f"{joint:g}" for joint in found)[:100]
        raise text.error(f"{where}.id", f"expected each of the joints 0 to 14 at most once, got {listed}")
    return joints.astype(np.int32)


def _if_any(scores: Ordinals) -> Ordinals | None:
    return scores if (scores >= 0).any() else None


FORMAT = Format("posetrack17", "PoseTrack 2017 annolist file or folder of such files", "json", _matches, _read)

"""COCO keypoint annotations and results, checked before anything is computed from them.

pycocotools takes NaN, unknown images and wrong joint counts without a word or with a bare assertion (measured with
2.0.11), hence every field that is used later is looked at here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from posefix_track.crops import keypoint_boxes
from posefix_track.errors import InputError
from posefix_track.keypoints import COCO_17, KeypointSet, keypoint_set_by_count, keypoint_set_by_joints
from posefix_track.oks import AREA_OF_BOX, Float64

Record = dict[str, Any]

_LARGEST = 1e12


@dataclass(frozen=True)
class CocoTruth:
    """Checked annotations; every annotation has ``area``, ``bbox`` (xywh), ``iscrowd`` and ``num_keypoints``.

    Attributes:
        images: the file's image records.
        annotations: the file's people with the missing fields filled in and ``id`` as in the file, if it has one.
        categories: the file's categories.
        keypoint_set: what the joints are.
        notes: what was filled in, in words, for reports.
    """

    images: list[Record]
    annotations: list[Record]
    categories: list[Record]
    keypoint_set: KeypointSet
    notes: tuple[str, ...] = ()

    @cached_property
    def image_ids(self) -> frozenset[Any]:
        """Ids of all images."""
        return frozenset(image["id"] for image in self.images)

    @cached_property
    def category_ids(self) -> frozenset[Any]:
        """Ids of all categories."""
        return frozenset(category["id"] for category in self.categories)


def read_json(path: Path) -> Any:
    """The content of a JSON file; NaN and Infinity are read too, so that they can be named in an error later.

    Raises InputError when the file cannot be read or is no JSON.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give an existing JSON file") from error
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return _read_lenient(path, content)


def read_coco_truth(path: Path) -> CocoTruth:
    """Read and check a COCO keypoint annotation file.

    Raises InputError for a file of another kind and for annotations that refer to unknown images or have keypoints,
    boxes or areas that are not finite numbers.
    """
    return checked_truth(read_json(path), str(path))


def checked_truth(content: Any, where: str) -> CocoTruth:
    """``read_coco_truth`` of an annotation dictionary that is already in memory; ``where`` names it in errors."""
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise InputError(f"{where}: expected a COCO annotation file with the lists 'images' and 'annotations'")
    categories = _categories(content, where)
    keypoint_set = _keypoint_set(categories, content["annotations"], where)
    if not all(isinstance(image, dict) and _is_id(image.get("id")) for image in content["images"]):
        raise InputError(f"{where}: every image needs an id that is a number or a text")
    truth = CocoTruth(content["images"], [], categories, keypoint_set)
    people = [_checked_person(a, f"{where}: annotation {i}", truth) for i, a in enumerate(content["annotations"])]
    return replace(truth, annotations=people, notes=_notes(content["annotations"]))


def read_coco_results(results: Path | Sequence[Mapping[str, Any]], truth: CocoTruth, joints: int) -> list[Record]:
    """Read and check COCO keypoint results: a list of ``{image_id, category_id, keypoints, score}``.

    Args:
        results: a JSON file or the list itself, which is not changed.
        truth: the annotations whose images and categories may occur.
        joints: how many joints each entry must have; 0 takes the count of the first entry.

    Raises:
        InputError: for the first entry with an unknown image or category, a wrong number of keypoints, or keypoints or
            a score that are not finite numbers.
    """
    where = str(results) if isinstance(results, Path) else "results"
    content = read_json(results) if isinstance(results, Path) else list(results)
    if not isinstance(content, list):
        raise InputError(f"{where}: COCO results are a list of poses, got a JSON {type(content).__name__}")
    joints = joints or _joint_count(content)
    for i, entry in enumerate(content):
        _check_result(entry, f"{where}: entry {i}", truth, joints)
    return [dict(entry) for entry in content]


def finite_numbers(values: object, count: int) -> Float64 | None:
    """float64 [count], or None where ``values`` is anything but a flat list of that many finite numbers.

    Numbers beyond 1e12 are none either: no image is that large, and their squares would overflow.
    """
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        return None
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        return None
    numbers = array.astype(np.float64)
    return numbers if (np.abs(numbers) <= _LARGEST).all() else None


def _read_lenient(path: Path, content: bytes) -> Any:
    """orjson refuses NaN; the standard library reads it."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error}); give a COCO or PoseTrack JSON file") from error


def _is_id(value: object) -> bool:
    return isinstance(value, int | str)


def _known(value: object, ids: frozenset[Any]) -> bool:
    return _is_id(value) and value in ids


def _categories(content: Record, where: str) -> list[Record]:
    """The categories of the file; a lone person category where it has none."""
    categories = content.get("categories") or [{"id": 1, "name": "person"}]
    if not isinstance(categories, list) or not all(isinstance(c, dict) and _is_id(c.get("id")) for c in categories):
        raise InputError(f"{where}: 'categories' must be a list of objects with an id")
    return categories


def _keypoint_set(categories: list[Record], annotations: list[Any], where: str) -> KeypointSet:
    names = next((c["keypoints"] for c in categories if isinstance(c.get("keypoints"), list)), None)
    if names is None:
        return keypoint_set_by_count(_joint_count(annotations) or len(COCO_17), where)
    joints = tuple(str(name) for name in names)
    return keypoint_set_by_joints(joints) or _unregistered_set(joints, where)


def _unregistered_set(joints: tuple[str, ...], where: str) -> KeypointSet:
    """Known joints in an order of the file's own, such as PoseTrack's fifteen without ears."""
    keypoint_set = KeypointSet("file", joints)
    try:
        known = len(keypoint_set.sigmas) == len(keypoint_set.index)
    except KeyError:
        known = False
    if not known:
        raise InputError(f"{where}: joint names must be different ones out of posefix_track.keypoints, got {joints}")
    return keypoint_set


def _joint_count(entries: Sequence[Any]) -> int:
    """Joints of the first entry; 0 where that cannot be told."""
    keypoints = entries[0].get("keypoints") if entries and isinstance(entries[0], Mapping) else None
    return len(keypoints) // 3 if isinstance(keypoints, list | tuple) else 0


def _checked_person(person: Any, where: str, truth: CocoTruth) -> Record:
    if not isinstance(person, dict) or not _known(person.get("image_id"), truth.image_ids):
        raise InputError(f"{where}: its image_id is not among the file's images")
    if not _known(person.get("category_id", truth.categories[0]["id"]), truth.category_ids):
        raise InputError(f"{where}: its category_id is not among the file's categories")
    joints = len(truth.keypoint_set)
    keypoints = finite_numbers(person.get("keypoints"), 3 * joints)
    if keypoints is None:
        raise InputError(f"{where}: keypoints must be {3 * joints} finite numbers (x, y, v of each joint)")
    bbox = finite_numbers(person["bbox"], 4) if person.get("bbox") else _box(keypoints)
    if bbox is None:
        raise InputError(f"{where}: bbox must be 4 finite numbers (x, y, width, height)")
    stated = person.get("area")
    area = finite_numbers([AREA_OF_BOX * bbox[2] * bbox[3] if stated is None else stated], 1)
    if area is None or area[0] < 0:
        raise InputError(f"{where}: area must be a finite number that is not negative, got {stated!r}")
    if not all(isinstance(person.get(field, 0), int) for field in ("iscrowd", "num_keypoints")):
        raise InputError(f"{where}: iscrowd and num_keypoints must be whole numbers")
    labelled = int((keypoints[2::3] > 0).sum())
    filled = {"category_id": truth.categories[0]["id"], "iscrowd": 0, "num_keypoints": labelled}
    return filled | person | {"bbox": bbox.tolist(), "area": float(area[0])}


def _box(keypoints: Float64) -> Float64:
    """float64 [4] xywh round the labelled joints; zeros without any."""
    columns = keypoints.reshape(1, -1, 3)
    box = np.nan_to_num(keypoint_boxes(columns[..., :2], columns[..., 2] > 0)[0])
    return np.concatenate([box[:2], box[2:] - box[:2]])


def _notes(annotations: list[Record]) -> tuple[str, ...]:
    texts = (
        ("area", f"a person without an area in the file has {AREA_OF_BOX} x box"),
        ("bbox", "a person without a box in the file has the one round the labelled joints"),
    )
    return tuple(text for field, text in texts if any(a.get(field) in (None, []) for a in annotations))


def _check_result(entry: Any, where: str, truth: CocoTruth, joints: int) -> None:
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: a result must be an object, got {type(entry).__name__}")
    if not _known(entry.get("image_id"), truth.image_ids):
        raise InputError(f"{where}: image_id {entry.get('image_id')!r} is not among the annotated images")
    if not _known(entry.get("category_id"), truth.category_ids):
        raise InputError(f"{where}: category_id {entry.get('category_id')!r} is unknown; a person is usually 1")
    keypoints = entry.get("keypoints")
    if not isinstance(keypoints, list | tuple) or len(keypoints) != 3 * joints:
        got = len(keypoints) if isinstance(keypoints, list | tuple) else type(keypoints).__name__
        raise InputError(f"{where}: expected {3 * joints} keypoint numbers (x, y, score of {joints} joints), got {got}")
    if finite_numbers(keypoints, 3 * joints) is None:
        raise InputError(f"{where}: keypoints must be finite numbers; found NaN, Infinity or something else")
    if finite_numbers([entry.get("score")], 1) is None:
        raise InputError(f"{where}: score must be a finite number, got {entry.get('score')!r}")

"""Reads what the diagnosis compares: COCO annotations with two results files, or PoseTrack 2018 files or folders."""

from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from eval.coco_files import CocoTruth, Record, checked_truth, finite_numbers, read_coco_results, read_json
from eval.diagnose_people import Comparison, Detections, People
from posefix_track.errors import InputError
from posefix_track.oks import Bool, Float64
from posefix_track.poses import present_joints

_Columns = TypeVar("_Columns", People, Detections)


def read_comparison(gt: Path, before: Path, after: Path) -> Comparison:
    """Read annotations and the poses before and after refinement.

    Args:
        gt: a COCO annotation file, a PoseTrack 2018 annotation file, or a folder of those.
        before: COCO results for a COCO file; a PoseTrack file or folder of the same file names otherwise.
        after: like ``before``.

    Raises:
        InputError: for files that cannot be used or do not belong together.
    """
    if gt.is_dir():
        return _joined([_read_one(path, _partner(before, path), _partner(after, path)) for path in _json_files(gt)])
    return _read_one(gt, before, after)


def people_columns(truth: CocoTruth, keep_unflagged: bool = False) -> People:
    """The annotated people of a file as columns.

    ``keep_unflagged`` follows PoseTrack, where a joint is missing only when x, y and the flag are all zero.
    """
    number = {image["id"]: i for i, image in enumerate(truth.images)}
    columns = triplets([a["keypoints"] for a in truth.annotations], len(truth.keypoint_set))
    boxes = np.array([a["bbox"] for a in truth.annotations], np.float64).reshape(-1, 4)
    return People(
        image=np.array([number[a["image_id"]] for a in truth.annotations], np.int64),
        keypoints=columns[..., :2],
        labelled=(columns != 0).any(-1) if keep_unflagged else columns[..., 2] > 0,
        area=np.array([a["area"] for a in truth.annotations], np.float64),
        bbox_xyxy=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        crowd=np.array([bool(a["iscrowd"]) for a in truth.annotations], np.bool_),
        ids=tuple(a.get("id", i) for i, a in enumerate(truth.annotations)),
    )


def detection_columns(truth: CocoTruth, results: Sequence[Record]) -> Detections:
    """Checked COCO results as columns; joints are those of ``truth``."""
    number = {image["id"]: i for i, image in enumerate(truth.images)}
    columns = triplets([entry["keypoints"] for entry in results], len(truth.keypoint_set))
    return Detections(
        image=np.array([number[entry["image_id"]] for entry in results], np.int64),
        keypoints=columns[..., :2],
        present=present_joints(columns[..., :2], None),
        scores=np.array([entry["score"] for entry in results], np.float64),
        ids=_names(results, "id"),
        track_ids=_names(results, "track_id"),
    )


def _read_one(gt: Path, before: Path, after: Path) -> Comparison:
    truth = checked_truth(read_json(gt), str(gt))
    contents = [(read_json(path), path) for path in (before, after)]
    kinds = {isinstance(content, dict) for content, _ in contents}
    if kinds == {True}:
        sides = [_posetrack_detections(truth, content, str(path)) for content, path in contents]
    else:
        sides = [detection_columns(truth, read_coco_results(p, truth, len(truth.keypoint_set))) for _, p in contents]
    posetrack = kinds == {True}
    names = tuple(str(image.get("file_name", image["id"])) for image in truth.images)
    sequences = tuple(gt.stem if posetrack else "" for _ in names)
    ids = tuple(image["id"] for image in truth.images)
    people = people_columns(truth, keep_unflagged=posetrack)
    return Comparison(truth.keypoint_set, people, sides[0], sides[1], names, ids, sequences, truth.notes)


def _posetrack_detections(truth: CocoTruth, content: Record, where: str) -> Detections:
    """Predictions in PoseTrack 2018 layout; frames are found by file name, joints by name."""
    predicted = checked_truth(content, where)
    number = {str(image.get("file_name")): i for i, image in enumerate(truth.images)}
    image_of = {image["id"]: number.get(str(image.get("file_name"))) for image in predicted.images}
    if predicted.annotations and not any(i is not None for i in image_of.values()):
        raise InputError(
            f"{where}: none of its images has a file_name of the annotation file; frames are matched by name"
        )
    rows = [a for a in predicted.annotations if image_of[a["image_id"]] is not None]
    keypoints, present = _by_joint(truth, predicted, rows)
    return Detections(
        image=np.array([image_of[a["image_id"]] for a in rows], np.int64),
        keypoints=keypoints,
        present=present,
        scores=np.array([_person_score(a, len(predicted.keypoint_set), where) for a in rows], np.float64),
        ids=_names(rows, "id"),
        track_ids=_names(rows, "track_id"),
    )


def _by_joint(truth: CocoTruth, predicted: CocoTruth, rows: list[Record]) -> tuple[Float64, Bool]:
    """Predicted joints in the order of the annotated set; joints that the prediction lacks are absent."""
    columns = triplets([a["keypoints"] for a in rows], len(predicted.keypoint_set))
    source = truth.keypoint_set.map_from(predicted.keypoint_set)
    columns = np.where(source[:, None] >= 0, columns[:, source], 0.0)
    return columns[..., :2], present_joints(columns[..., :2], None)


def _person_score(annotation: Record, joints: int, where: str) -> float:
    """Mean score of the present joints; PoseTrack files have no score of the whole person."""
    if not annotation.get("scores"):
        return 1.0
    scores = finite_numbers(annotation["scores"], joints)
    if scores is None:
        raise InputError(f"{where}: scores must be {joints} finite numbers, one of each joint")
    present = (np.reshape(annotation["keypoints"], (joints, 3))[:, :2] != 0).any(1)
    return float(scores[present].mean()) if present.any() else 0.0


def triplets(rows: Sequence[Sequence[float]], joints: int) -> Float64:
    """Flat keypoint lists of a file as float64 [n, joints, 3]."""
    return np.array(rows, np.float64).reshape(-1, joints, 3)


def _names(rows: Sequence[Record], field: str) -> tuple[Hashable, ...] | None:
    names = tuple(row.get(field) for row in rows)
    return names if all(isinstance(name, int | str) for name in names) else None


def _json_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder}: holds no .json files; give the folder of the annotation files")
    return files


def _partner(folder: Path, truth: Path) -> Path:
    path = folder / truth.name
    if not path.is_file():
        raise InputError(f"{path}: missing; a folder of predictions needs a file of the same name for every sequence")
    return path


def _joined(parts: list[Comparison]) -> Comparison:
    """One comparison over all files; images are numbered on."""
    if len({part.keypoint_set for part in parts}) > 1:
        raise InputError("the annotation files name different joints; compare files of one keypoint set at a time")
    offsets = np.cumsum([0, *(len(part.image_names) for part in parts)])[:-1].tolist()
    return Comparison(
        keypoint_set=parts[0].keypoint_set,
        people=_stacked([part.people for part in parts], offsets),
        before=_stacked([part.before for part in parts], offsets),
        after=_stacked([part.after for part in parts], offsets),
        image_names=tuple(name for part in parts for name in part.image_names),
        image_ids=tuple(name for part in parts for name in part.image_ids),
        sequences=tuple(name for part in parts for name in part.sequences),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _stacked(parts: list[_Columns], offsets: list[int]) -> _Columns:
    moved = [replace(part, image=part.image + offset) for part, offset in zip(parts, offsets, strict=True)]
    columns: dict[str, Any] = {}
    for field in fields(moved[0]):
        values = [getattr(part, field.name) for part in moved]
        if isinstance(values[0], np.ndarray):
            columns[field.name] = np.concatenate(values)
        else:
            columns[field.name] = None if None in values else tuple(x for value in values for x in value)
    return replace(moved[0], **columns)

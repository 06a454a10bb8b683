"""Compares a tracker's poses with annotations: which error each joint has, and how similar it is to where it lies."""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from posefix_track.error_classes import ERROR_CLASSES, AnnotatedPeople, Classified, Int, classify
from posefix_track.errors import InputError
from posefix_track.keypoints import UNION_19, KeypointSet
from posefix_track.oks import AREA_OF_BOX, Bool, Float64, keypoint_similarity, matches, oks
from posefix_track.poses import present_joints
from posefix_track.synthesis_model import KS_BINS

# A pose less similar than this to everybody is taken for nobody's (coco-analyze matches likewise).
_LEAST_OKS = 0.1


@dataclass(frozen=True)
class Group(AnnotatedPeople):
    """The annotated people of one image in union-19 joints; ``ids`` are those of their annotations."""

    ids: list[Hashable]


@dataclass(frozen=True)
class Pose:
    """One pose of the tracker in union-19 joints.

    Attributes:
        keypoints: float64 [19, 2], image pixels; present: bool [19].
        score: for the order of matching.
        person: id of the annotation it belongs to; None where the file does not say.
    """

    keypoints: Float64
    present: Bool
    score: float
    person: Hashable


@dataclass(frozen=True)
class Matched:
    """Poses that belong to somebody.

    Attributes:
        rows: int64 [P] the person of each one in its group; found: int64 [P] its place among the image's poses.
        keypoints: float64 [P, 19, 2]; present: bool [P, 19].
    """

    rows: Int
    found: Int
    keypoints: Float64
    present: Bool


@dataclass(frozen=True)
class Counts:
    """Sums over matched people, V bands of labelled joints.

    Attributes:
        visible_from: least number of labelled joints of each band.
        people: matched; poses: all of the tracker's.
        labelled: int64 [V, 19], joints of matched people; absent: int64 [V, 19], of them, those without a position.
        status: int64 [V, 19, 5], statuses of the others.
        similarity: int64 [19, 5, 50], of them by KS to where they lie.
    """

    visible_from: tuple[int, ...]
    people: int
    poses: int
    labelled: Int
    absent: Int
    status: Int
    similarity: Int


def read_groups(content: Any, where: str) -> tuple[KeypointSet, dict[Hashable, Group]]:
    """Annotations in COCO layout -> their joints, and the people of each image. Raises InputError naming ``where``."""
    try:
        source = KeypointSet("annotations", tuple(content["categories"][0]["keypoints"]))
        rows: dict[Hashable, list[dict[str, Any]]] = defaultdict(list)
        for row in content["annotations"]:
            if not row.get("iscrowd", 0):
                rows[row["image_id"]].append(row)
        groups = {image: _group(people, source) for image, people in rows.items()}
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: expected annotations in COCO layout, got {error!r}; give the file of --gt"
        ) from error
    if (UNION_19.map_from(source) >= 0).sum() < 6:
        raise InputError(f"{where}: fewer than six known joints among {source.joints}")
    return source, groups


def read_tracker(content: Any, source: KeypointSet, where: str) -> dict[Hashable, list[Pose]]:
    """COCO results, or a file in PoseTrack 2018 layout, with joints of ``source`` -> the poses of each image.

    Raises:
        InputError: naming ``where``, for anything else.
    """
    poses: dict[Hashable, list[Pose]] = defaultdict(list)
    try:
        for row in content["annotations"] if isinstance(content, dict) else content:
            poses[row["image_id"]].append(_pose(row, source))
    except (KeyError, TypeError, ValueError) as error:
        expected = f"COCO results with {len(source)} joints, as annotated"
        raise InputError(
            f"{where}: expected {expected}, got {error!r}; give the tracker's file in COCO format"
        ) from error
    return poses


def count_errors(
    groups: dict[Hashable, Group], poses: dict[Hashable, list[Pose]], visible_from: tuple[int, ...]
) -> Counts:
    """Match poses to people and count the errors of the labelled joints."""
    of_images = [(group, of_people(group, poses.get(image, []))) for image, group in groups.items()]
    people = sum(len(matched.rows) for _, matched in of_images)
    bands = (len(visible_from), len(UNION_19))
    counts = Counts(
        visible_from, people, sum(map(len, poses.values())), np.zeros(bands, np.int64), np.zeros(bands, np.int64),
        np.zeros((*bands, len(ERROR_CLASSES)), np.int64),
        np.zeros((bands[1], len(ERROR_CLASSES), KS_BINS), np.int64),
    )  # fmt: skip
    for group, matched in of_images:
        _count(counts, group, matched)
    return counts


def of_people(group: Group, poses: list[Pose]) -> Matched:
    """Give poses to people: by annotation id, the rest by falling score to the most similar person still free."""
    free = np.asarray(group.labelled.any(1))
    number = {person: i for i, person in enumerate(group.ids)}
    by_score = sorted(range(len(poses)), key=lambda i: -poses[i].score)
    pairs = []
    for i in by_score:
        person = number.get(poses[i].person) if poses[i].person is not None else None
        if person is not None and free[person]:
            free[person] = False
            pairs.append((person, i))
    nameless = [i for i in by_score if poses[i].person is None]
    similarity = np.where(free, _oks(group, [poses[i] for i in nameless]), -1.0)
    nobody = np.zeros(len(group), bool)
    pairs += [(person, nameless[i]) for person, i in matches(similarity, _LEAST_OKS, nobody, nobody)]
    rows, found = np.array(pairs, np.int64).reshape(-1, 2).T
    return Matched(rows, found, *_columns([poses[i] for i in found]))


def classified(group: Group, rows: Int, keypoints: Float64) -> Classified:
    """Errors of poses [P, 19, 2] of the people in ``rows``; meaningful for joints that are labelled and present."""
    return classify(group, rows, keypoints, UNION_19.flip_index, UNION_19.sigmas)


def _oks(group: Group, poses: list[Pose]) -> Float64:
    """[D, G]; absent joints are as far away as can be."""
    keypoints, present = _columns(poses)
    similarity = keypoint_similarity(keypoints[:, None], group.keypoints, group.area, UNION_19.sigmas)
    return oks(np.where(present[:, None], similarity, 0.0), group.labelled)


def _columns(poses: list[Pose]) -> tuple[Float64, Bool]:
    """Keypoints [P, 19, 2] and presence [P, 19]."""
    keypoints = np.array([pose.keypoints for pose in poses], np.float64).reshape(-1, len(UNION_19), 2)
    return keypoints, np.array([pose.present for pose in poses], bool).reshape(-1, len(UNION_19))


def _count(counts: Counts, group: Group, matched: Matched) -> None:
    labelled = group.labelled[matched.rows]
    bands = np.searchsorted(counts.visible_from, labelled.sum(1), side="right") - 1
    codes, similarity = classified(group, matched.rows, matched.keypoints)
    np.add.at(counts.labelled, bands, labelled)
    np.add.at(counts.absent, bands, labelled & ~matched.present)
    pose, joint = np.nonzero(labelled & matched.present)
    codes, similarity = codes[pose, joint], similarity[pose, joint]
    bins = np.minimum((similarity * KS_BINS).astype(np.int64), KS_BINS - 1)
    np.add.at(counts.status, (bands[pose], joint, codes), 1)
    np.add.at(counts.similarity, (joint, codes, bins), 1)


def _group(rows: list[dict[str, Any]], source: KeypointSet) -> Group:
    triplets = np.array([row["keypoints"] for row in rows], np.float64).reshape(-1, len(source), 3)
    order = UNION_19.map_from(source)
    labelled = (order >= 0) & (triplets[:, order, 2] > 0)
    keypoints = np.where(labelled[..., None], triplets[:, order, :2], 0.0)
    area = np.array([float(row.get("area") or AREA_OF_BOX * row["bbox"][2] * row["bbox"][3]) for row in rows])
    if not (np.isfinite(keypoints).all() and np.isfinite(area).all()):
        raise ValueError("a number that is not finite")
    # A box without extent would divide by zero; one pixel tells as little.
    ids = [row.get("id") for row in rows]
    return Group(np.zeros(len(rows), np.int64), keypoints, labelled, np.maximum(area, 1.0), ids)


def _pose(row: dict[str, Any], source: KeypointSet) -> Pose:
    triplets = np.asarray(row["keypoints"], np.float64).reshape(len(source), 3)
    # PoseTrack files may leave the third value at 0 throughout.
    scores = triplets[:, 2] if (triplets[:, 2] > 0).any() else None
    order = UNION_19.map_from(source)
    present = (order >= 0) & present_joints(triplets[:, :2], scores)[order]
    keypoints = np.where(present[:, None], triplets[order, :2], 0.0)
    score = float(row.get("score", np.mean(row.get("scores") or 1.0)))
    return Pose(keypoints, present, score, row.get("ann_id"))

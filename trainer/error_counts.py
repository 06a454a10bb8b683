"""Compares a tracker's poses with annotations: which error each joint has, and how similar it is to where it lies."""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from posefix_track.errors import InputError
from posefix_track.keypoints import UNION_19, KeypointSet
from posefix_track.poses import present_joints
from posefix_track.synthesis_model import KS_BINS
from posefix_track.synthesis_rules import GOOD, INVERSION, JITTER, MISS, STATUSES, SWAP, Bool, Float64, Int
from trainer.people import AREA_SHARE

# A pose less similar than this to everybody is taken for nobody's (coco-analyze matches likewise).
_LEAST_OKS = 0.1
_SIGMAS = UNION_19.sigmas
_FLIP = UNION_19.flip_index


@dataclass(frozen=True)
class Group:
    """G annotated people of one image in union-19 joints.

    Attributes:
        ids: G annotation ids.
        keypoints: float64 [G, 19, 2], image pixels; labelled: bool [G, 19].
        area: float64 [G], square pixels that OKS is measured by.
    """

    ids: list[Hashable]
    keypoints: Float64
    labelled: Bool
    area: Float64


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
    pairs = [(g, person, pose) for image, g in groups.items() for person, pose in match(g, poses.get(image, []))]
    bands = (len(visible_from), len(UNION_19))
    counts = Counts(
        visible_from, len(pairs), sum(map(len, poses.values())), np.zeros(bands, np.int64), np.zeros(bands, np.int64),
        np.zeros((*bands, len(STATUSES)), np.int64), np.zeros((bands[1], len(STATUSES), KS_BINS), np.int64),
    )  # fmt: skip
    for group, person, pose in pairs:
        _count(counts, group, person, pose)
    return counts


def match(group: Group, poses: list[Pose]) -> Iterator[tuple[int, Pose]]:
    """(person, pose) pairs: by annotation id, the rest by falling score to the most similar person still free."""
    free = np.asarray(group.labelled.any(1))
    number = {person: i for i, person in enumerate(group.ids)}
    by_score = sorted(poses, key=lambda pose: -pose.score)
    for pose in by_score:
        person = number.get(pose.person) if pose.person is not None else None
        if person is not None and free[person]:
            free[person] = False
            yield person, pose
    for pose in (pose for pose in by_score if pose.person is None):
        similarity = np.where(free, _oks(group, pose), -1.0)
        if len(similarity) and similarity.max() >= _LEAST_OKS:
            free[similarity.argmax()] = False
            yield int(similarity.argmax()), pose


def classify(group: Group, person: int, pose: Pose) -> tuple[Int, Float64]:
    """Status of each joint, and its KS to the most similar annotated joint, [19] and [19].

    A joint belongs to the most similar of its own, other people's, its own mirrored and other people's mirrored one,
    in this order where equal (Ronchi & Perona, ICCV 2017, as published); meaningful for labelled, present joints.
    """
    straight, mirrored = _similarities(group, pose)
    others = np.arange(len(group.ids)) != person
    candidates = np.stack([
        straight[person], straight[others].max(0, initial=-1.0), mirrored[person],
        mirrored[others].max(0, initial=-1.0),
    ])  # fmt: skip
    best, winner = candidates.max(0), candidates.argmax(0)
    status = np.array([JITTER, SWAP, INVERSION, SWAP])[winner]
    status[(winner == 0) & (best >= 0.85)] = GOOD
    status[best < 0.5] = MISS
    return status, best


def _similarities(group: Group, pose: Pose) -> tuple[Float64, Float64]:
    """KS [G, 19] of the pose's joints to everybody's same and mirrored joints, each by that one's area; -1 for none."""
    result = []
    for order in (np.arange(len(_FLIP)), _FLIP):
        squared = ((pose.keypoints - group.keypoints[:, order]) ** 2).sum(-1)
        similarity = np.exp(-squared / (2 * group.area[:, None] * (2 * _SIGMAS) ** 2))
        result.append(np.where(group.labelled[:, order], similarity, -1.0))
    return result[0], result[1]


def _oks(group: Group, pose: Pose) -> Float64:
    similarity = np.where(group.labelled & pose.present, _similarities(group, pose)[0], 0.0)
    return np.asarray(similarity.sum(1) / np.maximum(group.labelled.sum(1), 1))


def _count(counts: Counts, group: Group, person: int, pose: Pose) -> None:
    labelled = group.labelled[person]
    band = int(np.searchsorted(counts.visible_from, labelled.sum(), side="right")) - 1
    status, similarity = classify(group, person, pose)
    joint = np.flatnonzero(labelled & pose.present)
    bins = np.minimum((similarity[joint] * KS_BINS).astype(np.int64), KS_BINS - 1)
    counts.labelled[band] += labelled
    counts.absent[band] += labelled & ~pose.present
    counts.status[band, joint, status[joint]] += 1
    counts.similarity[joint, status[joint], bins] += 1


def _group(rows: list[dict[str, Any]], source: KeypointSet) -> Group:
    triplets = np.array([row["keypoints"] for row in rows], np.float64).reshape(-1, len(source), 3)
    order = UNION_19.map_from(source)
    labelled = (order >= 0) & (triplets[:, order, 2] > 0)
    keypoints = np.where(labelled[..., None], triplets[:, order, :2], 0.0)
    area = np.array([float(row.get("area") or AREA_SHARE * row["bbox"][2] * row["bbox"][3]) for row in rows])
    if not (np.isfinite(keypoints).all() and np.isfinite(area).all()):
        raise ValueError("a number that is not finite")
    # A box without extent would divide by zero; one pixel tells as little.
    return Group([row.get("id") for row in rows], keypoints, labelled, np.maximum(area, 1.0))


def _pose(row: dict[str, Any], source: KeypointSet) -> Pose:
    triplets = np.asarray(row["keypoints"], np.float64).reshape(len(source), 3)
    # PoseTrack files may leave the third value at 0 throughout.
    scores = triplets[:, 2] if (triplets[:, 2] > 0).any() else None
    order = UNION_19.map_from(source)
    present = (order >= 0) & present_joints(triplets[:, :2], scores)[order]
    keypoints = np.where(present[:, None], triplets[order, :2], 0.0)
    score = float(row.get("score", np.mean(row.get("scores") or 1.0)))
    return Pose(keypoints, present, score, row.get("ann_id"))

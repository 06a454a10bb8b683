"""COCO's average precision of poses, for validation while training; equal to pycocotools (keypoints, all areas)."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.people import Bool, Float64, Int

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
# Poses of an image that count at most (COCO's parameter for keypoints).
_MOST = 20


@dataclass(frozen=True)
class Truth:
    """G annotated people of one image.

    Attributes:
        keypoints: float64 [G, K, 2]; labelled: bool [G, K].
        bbox_xywh: float64 [G, 4]; area: float64 [G].
        crowd: bool [G]; crowds, and people without labelled joints, are neither found nor missed.
    """

    keypoints: Float64
    labelled: Bool
    bbox_xywh: Float64
    area: Float64
    crowd: Bool

    @property
    def ignored(self) -> Bool:
        """bool [G]."""
        return np.asarray(self.crowd | ~self.labelled.any(1))


@dataclass(frozen=True)
class Found:
    """D poses of one image: keypoints float64 [D, K, 2], scores float64 [D]."""

    keypoints: Float64
    scores: Float64


def average_precision(
    truth: Mapping[Hashable, Truth], found: Mapping[Hashable, Found], sigmas: Float64
) -> dict[str, float]:
    """``ap`` (mean over OKS .50:.05:.95), ``ap50`` and ``ap75``, in [0, 1], of the images in ``truth``.

    Args:
        truth, found: by image.
        sigmas: float64 [K].
    """
    scores: list[Float64] = [np.zeros(0)]
    hits: list[Int] = [np.zeros((len(THRESHOLDS), 0), np.int64)]
    wanted = sum(int((~people.ignored).sum()) for people in truth.values())
    for image, people in truth.items():
        poses = found.get(image)
        if poses is None:
            continue
        order = np.argsort(-poses.scores, kind="stable")[:_MOST]
        similarity = object_similarity(poses.keypoints[order], people, sigmas)
        scores.append(poses.scores[order])
        hits.append(_matches(similarity, people))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    precision = [_interpolated(row[order], wanted) for row in np.concatenate(hits, 1)]
    return {"ap": float(np.mean(precision)), "ap50": precision[0], "ap75": precision[5]}


def object_similarity(keypoints: Float64, people: Truth, sigmas: Float64) -> Float64:
    """OKS of poses [D, K, 2] with each person, [D, G]; without labelled joints, by the distance to the doubled box."""
    apart = keypoints[:, None] - people.keypoints
    low, size = people.bbox_xywh[:, None, :2], people.bbox_xywh[:, None, 2:]
    outside = np.maximum(low - size - keypoints[:, None], 0) + np.maximum(keypoints[:, None] - low - 2 * size, 0)
    some = np.asarray(people.labelled.any(1))
    apart = np.where(some[:, None, None], apart, outside)
    error = (apart**2).sum(-1) / (2 * sigmas) ** 2 / (people.area[:, None] + np.spacing(1)) / 2
    counted = people.labelled | ~some[:, None]
    return np.asarray((np.exp(-error) * counted).sum(2) / counted.sum(1))


def _matches(similarity: Float64, people: Truth) -> Int:
    """[10, D]: 1 where the pose is somebody's, 0 where nobody's, -1 where it does not count, for each threshold."""
    # Those that count come first: a pose only goes to the others where none of them is left for it.
    order = np.argsort(people.ignored, kind="stable")
    rows = [_match(similarity[:, order], people.ignored[order], people.crowd[order], t) for t in THRESHOLDS]
    return np.array(rows, np.int64).reshape(len(THRESHOLDS), len(similarity))


def _match(similarity: Float64, ignored: Bool, crowd: Bool, threshold: float) -> list[int]:
    taken = np.zeros(len(ignored), bool)
    result = []
    for row in similarity:
        free = ~taken | crowd
        person = _best(row, free & ~ignored, threshold)
        if person is None:
            person = _best(row, free & ignored, threshold)
        if person is not None:
            taken[person] = True
        result.append(0 if person is None else -1 if ignored[person] else 1)
    return result


def _best(similarity: Float64, allowed: Bool, threshold: float) -> int | None:
    """The most similar of those allowed, the last of equal ones, if at least ``threshold``."""
    candidates = np.flatnonzero(allowed & (similarity >= min(threshold, 1 - 1e-10)))
    if not len(candidates):
        return None
    return int(candidates[len(candidates) - 1 - similarity[candidates][::-1].argmax()])


def _interpolated(hits: Int, wanted: int) -> float:
    """Mean precision at 101 recalls of matches in the order of falling scores."""
    hits = hits[hits >= 0]
    if not wanted or not len(hits):
        return 0.0
    right = np.cumsum(hits)
    recall = right / wanted
    precision = right / (np.arange(len(hits)) + 1 + np.spacing(1))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(falling, 0.0)[place].mean())

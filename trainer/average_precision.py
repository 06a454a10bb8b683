"""COCO's average precision of poses, for validation while training; equal to pycocotools (keypoints, all areas)."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from posefix_track.oks import matches, oks_of_pairs
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
        bbox_xyxy: float64 [G, 4]; area: float64 [G].
        crowd: bool [G]; crowds, and people without labelled joints, are neither found nor missed.
    """

    keypoints: Float64
    labelled: Bool
    bbox_xyxy: Float64
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
        columns = people.keypoints, people.labelled, people.area, people.bbox_xyxy
        scores.append(poses.scores[order])
        hits.append(_hits(oks_of_pairs(poses.keypoints[order], *columns, sigmas), people))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    precision = [_interpolated(row[order], wanted) for row in np.concatenate(hits, 1)]
    return {"ap": float(np.mean(precision)), "ap50": precision[0], "ap75": precision[5]}


def _hits(similarity: Float64, people: Truth) -> Int:
    """[10, D]: 1 where the pose is somebody's, 0 where nobody's, -1 where it does not count, for each threshold."""
    # Those that count come first: a pose only goes to the others where none of them is left for it.
    order = np.argsort(people.ignored, kind="stable")
    ignored, crowd = people.ignored[order], people.crowd[order]
    hits = np.zeros((len(THRESHOLDS), len(similarity)), np.int64)
    for row, threshold in zip(hits, THRESHOLDS, strict=True):
        for person, pose in matches(similarity[:, order], threshold, ignored, crowd):
            row[pose] = -1 if ignored[person] else 1
    return hits


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

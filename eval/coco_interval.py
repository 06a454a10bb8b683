"""Bootstrap intervals of COCO AP over images, from the matches that pycocotools made."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.bootstrap import Interval, interval, resample_weights
from posefix_track.oks import Bool, Float64

Int = npt.NDArray[np.int64]

_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class _Matches:
    """Detections by falling score, all images together.

    Attributes:
        image: int64 [D] number of the image of each detection.
        correct: bool [T, D] matched with a person who counts, at each OKS threshold.
        wrong: bool [T, D] counts as false; detections of ignored people are neither.
        people: int64 [images] people who count.
    """

    image: Int
    correct: Bool
    wrong: Bool
    people: Int


def ap_intervals(before: Any, after: Any) -> dict[str, Interval]:
    """Intervals of AP over the same resampled images.

    Args:
        before: pycocotools evaluation of the poses before; see ``eval.coco.coco_evaluation``.
        after: the one after, of the same annotations.

    Returns:
        ``AP before``, ``AP after`` and ``AP change``, in [0, 1] and [-1, 1].
    """
    sides = [_matches(evaluation) for evaluation in (before, after)]
    weights = resample_weights(len(sides[0].people))
    every = np.concatenate([np.ones((1, weights.shape[1])), weights])
    samples = [np.array([_weighted_ap(side, row) for row in every]) for side in sides]
    named = {"AP before": samples[0], "AP after": samples[1], "AP change": samples[1] - samples[0]}
    return {name: interval(values) for name, values in named.items()}


def _matches(evaluation: Any) -> _Matches:
    """The matches in the range of all areas, which pycocotools lists first."""
    params = evaluation.params
    images = evaluation.evalImgs[: len(params.imgIds)]
    filled = [(i, found) for i, found in enumerate(images) if found is not None]
    people = np.zeros(len(images), np.int64)
    for i, found in filled:
        people[i] = np.count_nonzero(np.asarray(found["gtIgnore"]) == 0)
    scores = np.concatenate([found["dtScores"] for _, found in filled])
    order = np.argsort(-scores, kind="mergesort")
    matched = np.concatenate([found["dtMatches"] for _, found in filled], 1)[:, order] > 0
    ignored = np.concatenate([found["dtIgnore"] for _, found in filled], 1)[:, order].astype(bool)
    image = np.concatenate([np.full(len(found["dtScores"]), i) for i, found in filled])[order]
    return _Matches(image, matched & ~ignored, ~matched & ~ignored, people)


def _weighted_ap(matches: _Matches, weights: Float64) -> float:
    """AP of a resample that holds each image ``weights`` times: mean over thresholds and 101 recalls."""
    people = weights @ matches.people
    if not people:
        return float("nan")
    times = weights[matches.image]
    true, false = np.cumsum(matches.correct * times, 1), np.cumsum(matches.wrong * times, 1)
    precision = true / np.maximum(true + false, np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    padded = np.concatenate([envelope, np.zeros((len(envelope), 1))], 1)
    places = [np.searchsorted(recall, _RECALLS, side="left") for recall in true / people]
    return float(np.mean([row[place] for row, place in zip(padded, places, strict=True)]))

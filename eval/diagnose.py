"""Which error a tracker made at each joint, before and after refinement.

The five classes are those of Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation"
(ICCV 2017), with the thresholds of their published analysis: a joint belongs to the annotated joint that it is most
similar to (KS, see ``eval.oks``), among its own, the same joint of the other people in the image, its own mirrored
(left/right) joint, and the mirrored joints of the others, ties going to the first in this order. Then

* good: its own, KS >= .85; jitter: its own, .5 <= KS < .85;
* inversion: its own mirrored joint; swap: any joint of another person; both with KS >= .5;
* miss: nothing with KS >= .5, or no joint was detected.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eval.diagnose_match import match_people
from eval.diagnose_people import Comparison, Detections, Int, People, pair_detections
from eval.oks import Bool, Float64, keypoint_similarity, oks
from posefix_track.errors import UsageError

CLASSES = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(5)
NONE = -1

Codes = npt.NDArray[np.int8]
Pairing = Literal["before", "each"]


@dataclass(frozen=True)
class Labels:
    """What became of each annotated person.

    Attributes:
        codes: int8 [N, K] position in ``CLASSES``; -1 for joints that are not annotated and people without a pose.
        oks: float64 [N] in [0, 1]; NaN for people without a pose.
        detection: int64 [N] the matched detection, -1 for none.
    """

    codes: Codes
    oks: Float64
    detection: Int


@dataclass(frozen=True)
class Diagnosis:
    """Labels of the same people before and after refinement.

    Attributes:
        comparison: the annotated people and the poses.
        before: labels of the poses that went in.
        after: labels of the poses that came out.
        sigmas: float64 [K] the OKS constants used.
        thresholds: KS limits of miss and of good.
        match_oks: least OKS of a match.
        pairing: ``before``: a person keeps its pose of before; ``each``: both sides were matched on their own.
    """

    comparison: Comparison
    before: Labels
    after: Labels
    sigmas: Float64
    thresholds: tuple[float, float]
    match_oks: float
    pairing: Pairing


def diagnose(
    comparison: Comparison,
    sigmas: Float64 | None = None,
    *,
    match_oks: float = 0.1,
    thresholds: tuple[float, float] = (0.5, 0.85),
    pairing: Pairing = "before",
) -> Diagnosis:
    """Match poses to people and name the error of every annotated joint.

    Args:
        comparison: people and poses; see ``eval.diagnose_files``.
        sigmas: float64 [K] OKS constants; those of the keypoint set where None.
        match_oks: least OKS, in (0, 1], at which a pose is taken to be of a person.
        thresholds: KS below which a joint is missed, and from which it is good.
        pairing: see ``Diagnosis``.

    Raises:
        UsageError: thresholds that are not 0 < miss <= good <= 1, or another number of sigmas than joints.
        InputError: poses before and after that cannot be paired.
    """
    sigmas = comparison.keypoint_set.sigmas if sigmas is None else sigmas
    _check(comparison, sigmas, match_oks, thresholds)
    people, before, after = comparison.people, comparison.before, comparison.after
    match = match_people(people, before, sigmas, match_oks)
    if pairing == "before":
        after_match = np.where(match >= 0, np.append(pair_detections(before, after), -1)[match], -1)
    else:
        after_match = match_people(people, after, sigmas, match_oks)
    labels = [_labels(people, side, found, comparison.keypoint_set.flip_index, sigmas, thresholds)
              for side, found in ((before, match), (after, after_match))]  # fmt: skip
    return Diagnosis(comparison, labels[0], labels[1], sigmas, thresholds, match_oks, pairing)


def classify(
    people: People,
    rows: Int,
    keypoints: Float64,
    flip_index: Int,
    sigmas: Float64,
    thresholds: tuple[float, float] = (0.5, 0.85),
) -> Codes:
    """Name the error of every joint of matched poses.

    Args:
        people: all annotated people of the images.
        rows: int64 [P] the person of each pose.
        keypoints: float64 [P, K, 2] the poses; a joint that was not found is NaN.
        flip_index: int64 [K] each joint's left/right partner.
        sigmas: float64 [K] OKS constants.
        thresholds: KS limits of miss and of good.

    Returns:
        int8 [P, K] positions in ``CLASSES``; -1 where the person's joint is not annotated.
    """
    miss_below, good_from = thresholds
    mirrored = _Targets(people.keypoints[:, flip_index], people.labelled[:, flip_index])
    straight = _Targets(people.keypoints, people.labelled)
    pose, other = _neighbours(people.image, rows)
    own, inverted = (_similarity(people, t, rows, keypoints, sigmas) for t in (straight, mirrored))
    others = [_best(_similarity(people, t, other, keypoints[pose], sigmas), pose, other != rows[pose], len(rows))
              for t in (straight, mirrored)]  # fmt: skip
    candidates = np.stack([own, others[0], inverted, others[1]])
    best, winner = candidates.max(0), candidates.argmax(0)
    codes = np.array([JITTER, SWAP, INVERSION, SWAP], np.int8)[winner]
    codes[(winner == 0) & (best >= good_from)] = GOOD
    codes[best < miss_below] = MISS
    return np.where(people.labelled[rows], codes, NONE).astype(np.int8)


@dataclass(frozen=True)
class _Targets:
    keypoints: Float64
    labelled: Bool


def _check(comparison: Comparison, sigmas: Float64, match_oks: float, thresholds: tuple[float, float]) -> None:
    if not 0 < thresholds[0] <= thresholds[1] <= 1:
        raise UsageError(f"KS thresholds must be 0 < miss <= good <= 1, got {thresholds[0]:g} and {thresholds[1]:g}")
    if not 0 < match_oks <= 1:
        raise UsageError(f"the least OKS of a match must be above 0 and at most 1, got {match_oks:g}")
    if sigmas.shape != (len(comparison.keypoint_set),) or not (sigmas > 0).all():
        raise UsageError(f"expected {len(comparison.keypoint_set)} positive sigmas, one of each joint, got {sigmas}")


def _labels(
    people: People,
    detections: Detections,
    match: Int,
    flip_index: Int,
    sigmas: Float64,
    thresholds: tuple[float, float],
) -> Labels:
    rows = np.flatnonzero((match >= 0) & people.labelled.any(1))
    found = match[rows]
    keypoints = np.where(detections.present[found][..., None], detections.keypoints[found], np.nan)
    codes = np.full(people.labelled.shape, NONE, np.int8)
    codes[rows] = classify(people, rows, keypoints, flip_index, sigmas, thresholds)
    similarity = keypoint_similarity(keypoints, people.keypoints[rows], people.area[rows], sigmas)
    person_oks = np.full(len(people), np.nan)
    person_oks[rows] = oks(np.nan_to_num(similarity), people.labelled[rows])
    detection = np.full(len(people), -1)
    detection[rows] = found
    return Labels(codes, person_oks, detection)


def _neighbours(image: Int, rows: Int) -> tuple[Int, Int]:
    """Every (pose, person of its image): positions in ``rows`` and in ``image``; at least its own person each."""
    order = np.argsort(image, kind="stable")
    first, after_last = (np.searchsorted(image[order], image[rows], side) for side in ("left", "right"))
    count = after_last - first
    pose = np.repeat(np.arange(len(rows)), count)
    step = np.arange(len(pose)) - np.repeat(np.cumsum(count) - count, count)
    return pose, order[np.repeat(first, count) + step]


def _similarity(people: People, targets: _Targets, rows: Int, keypoints: Float64, sigmas: Float64) -> Float64:
    """KS [P, K] to the targets of the people in ``rows``, -1 where they have none and 0 for joints not found."""
    similarity = keypoint_similarity(keypoints, targets.keypoints[rows], people.area[rows], sigmas)
    return np.where(targets.labelled[rows], np.nan_to_num(similarity), -1.0)


def _best(similarity: Float64, pose: Int, counts: Bool, poses: int) -> Float64:
    """Largest similarity of each pose over the pairs that count; -1 without any."""
    if not poses:
        return np.empty((0, similarity.shape[1]))
    starts = np.searchsorted(pose, np.arange(poses))
    best: Float64 = np.maximum.reduceat(np.where(counts[:, None], similarity, -1.0), starts, axis=0)
    return best

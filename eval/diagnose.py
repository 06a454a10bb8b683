"""Which error a tracker made at each joint, before and after refinement.

The classes are those of ``posefix_track.error_classes``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.diagnose_match import match_people
from eval.diagnose_people import Comparison, Detections, Int, People, pair_detections
from posefix_track.error_classes import GOOD_FROM, MISS_BELOW, NONE, Codes, classify
from posefix_track.errors import UsageError
from posefix_track.oks import Float64, keypoint_similarity, oks

Pairing = Literal["before", "each"]


@dataclass(frozen=True)
class Labels:
    """What became of each annotated person.

    Attributes:
        codes: int8 [N, K] position in ``ERROR_CLASSES``; -1 for joints that are not annotated and people without a
            pose.
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
    thresholds: tuple[float, float] = (MISS_BELOW, GOOD_FROM),
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
    codes[rows] = classify(people, rows, keypoints, flip_index, sigmas, thresholds).codes
    similarity = keypoint_similarity(keypoints, people.keypoints[rows], people.area[rows], sigmas)
    person_oks = np.full(len(people), np.nan)
    person_oks[rows] = oks(np.nan_to_num(similarity), people.labelled[rows])
    detection = np.full(len(people), -1)
    detection[rows] = found
    return Labels(codes, person_oks, detection)

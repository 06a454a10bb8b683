"""The five kinds of error that a joint of an estimated pose can have, and which one it has.

They are those of Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation" (ICCV 2017),
with the thresholds of their published analysis: a joint belongs to the annotated joint that it is most similar to (KS,
see ``posefix_track.oks``), among its own, the same joint of the other people in the image, its own mirrored
(left/right) joint, and the mirrored joints of the others, ties going to the first in this order. Then

* good: its own, KS >= .85; jitter: its own, .5 <= KS < .85;
* inversion: its own mirrored joint; swap: any joint of another person; both with KS >= .5;
* miss: nothing with KS >= .5, or no joint was detected.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from posefix_track.oks import Bool, Float64, keypoint_similarity

ERROR_CLASSES = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(5)
NONE = -1
# KS limits of the published analysis.
MISS_BELOW, GOOD_FROM = 0.5, 0.85

Codes = npt.NDArray[np.int8]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AnnotatedPeople:
    """Annotated people of any number of images.

    Attributes:
        image: int64 [N] number of each one's image.
        keypoints: float64 [N, K, 2] image pixels.
        labelled: bool [N, K]: the joint is annotated.
        area: float64 [N] square pixels.
    """

    image: Int
    keypoints: Float64
    labelled: Bool
    area: Float64

    def __len__(self) -> int:
        return len(self.image)


class Classified(NamedTuple):
    """Errors of the joints of P poses.

    Attributes:
        codes: int8 [P, K] positions in ``ERROR_CLASSES``; -1 where the person's joint is not annotated.
        similarity: float64 [P, K] KS to the annotated joint that each one belongs to; -1 without any.
    """

    codes: Codes
    similarity: Float64


def classify(
    people: AnnotatedPeople,
    rows: Int,
    keypoints: Float64,
    flip_index: Int,
    sigmas: Float64,
    thresholds: tuple[float, float] = (MISS_BELOW, GOOD_FROM),
) -> Classified:
    """Name the error of every joint of matched poses.

    Args:
        people: all annotated people of the images.
        rows: int64 [P] the person of each pose.
        keypoints: float64 [P, K, 2] the poses; a joint that was not found is NaN.
        flip_index: int64 [K] each joint's left/right partner.
        sigmas: float64 [K] OKS constants.
        thresholds: KS limits of miss and of good.
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
    return Classified(np.where(people.labelled[rows], codes, NONE).astype(np.int8), best)


@dataclass(frozen=True)
class _Targets:
    keypoints: Float64
    labelled: Bool


def _neighbours(image: Int, rows: Int) -> tuple[Int, Int]:
    """Every (pose, person of its image): positions in ``rows`` and in ``image``; at least its own person each."""
    order = np.argsort(image, kind="stable")
    first, after_last = (np.searchsorted(image[order], image[rows], side) for side in ("left", "right"))
    count = after_last - first
    pose = np.repeat(np.arange(len(rows)), count)
    step = np.arange(len(pose)) - np.repeat(np.cumsum(count) - count, count)
    return pose, order[np.repeat(first, count) + step]


def _similarity(people: AnnotatedPeople, targets: _Targets, rows: Int, keypoints: Float64, sigmas: Float64) -> Float64:
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

"""PoseTrack average precision: which predicted joints are right, and the area under the precision-recall curve.

The assignment of people and the area follow the official evaluator (poseval, BSD-2): no Hungarian method, and every
point of the curve counts.
"""

import numpy as np

from eval.posetrack_align import MATCH_DISTANCE, Sequence
from eval.posetrack_frames import Bool, Float, Int


def correct_joints(sequence: Sequence) -> Bool:
    """bool [P, J]: which predicted joints lie within half a head size of the same joint of the person's partner.

    A predicted person chooses the annotated one of which it finds the largest share of joints, and each annotated
    person keeps the best of those that chose it; whoever is left over has no right joint. The first in file order
    wins ties.
    """
    correct = np.zeros_like(sequence.prediction.present)
    match = sequence.distance <= MATCH_DISTANCE
    share = _found_share(match, sequence)
    chosen = best_of_each(share, sequence.pair_prediction)
    partners = chosen[best_of_each(share[chosen], sequence.pair_truth[chosen])]
    correct[sequence.pair_prediction[partners]] = match[partners]
    return correct


def _found_share(match: Bool, sequence: Sequence) -> Float:
    """float64 [M]: found joints of a pair by annotated joints of its annotated person."""
    annotated = np.maximum(sequence.truth.present.sum(1), 1)
    return np.asarray(match.sum(1) / annotated[sequence.pair_truth])


def best_of_each(value: Float, owner: Int) -> Int:
    """Index of the largest ``value`` [M] of each ``owner`` [M] (the first of equal ones), in order of owners."""
    order = np.lexsort((-value, owner))
    return order[np.diff(owner[order], prepend=-1) > 0]


def precision_recall(scores: Float, correct: Bool, positives: int, ties_together: bool) -> tuple[Float, Float]:
    """Precision and recall after each joint, best scores first.

    Args:
        scores: float64 [S].
        correct: bool [S].
        positives: number of annotated joints, more than zero.
        ties_together: one point for all joints of equal score; otherwise each has its own, in file order.

    Returns:
        precision and recall, float64 [at most S] each, in [0, 1].
    """
    order = np.argsort(-scores, kind="stable")
    found, ranks = np.cumsum(correct[order]), np.arange(1, len(order) + 1)
    ends = np.append(np.diff(scores[order]) != 0, True) if ties_together else np.full(len(order), True)
    return found[ends] / ranks[ends], found[ends] / positives


def area_under(precision: Float, recall: Float) -> float:
    """Area under the monotone envelope of a curve (VOC's all-point average precision), in [0, 1]."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))

"""CLEAR MOT counts per joint type (Bernardin and Stiefelhagen 2008) as motmetrics defines them.

An annotated person keeps the predicted one that it was last paired with, as long as their joints match; what is left
is paired by the Hungarian method, and a pair with a new partner is a switch.

Letters: N annotated and P predicted people of one frame, J joint types.
"""

from dataclasses import dataclass, fields

import numpy as np

from eval.joint_pairing import pair_joints
from eval.posetrack_align import MATCH_DISTANCE, Block, Sequence
from eval.posetrack_frames import JOINTS, Bool, Float, Int


@dataclass(frozen=True)
class MotCounts:
    """Sums over frames, float64 [J] each.

    Detections are matches and switches, so objects = detections + misses; ``distance`` sums over them, in head sizes.
    """

    objects: Float
    misses: Float
    switches: Float
    false_positives: Float
    detections: Float
    distance: Float


def add_mot_counts(parts: list[MotCounts]) -> MotCounts:
    """Sum of counts; zeros for none."""
    columns = ([getattr(part, field.name) for part in parts] for field in fields(MotCounts))
    return MotCounts(*(np.sum([np.zeros(len(JOINTS)), *column], axis=0) for column in columns))


def clear_mot(sequence: Sequence, frames: Int, one_sided_as_pair: bool) -> MotCounts:
    """Counts over ``frames``.

    Args:
        sequence: aligned frames.
        frames: int64 [any], positions of those that count, ascending.
        one_sided_as_pair: count a frame that has nobody on either side as one miss and one false positive of every
            joint type, as the official evaluator does, instead of counting its joints.
    """
    truth_ids, prediction_ids = (_dense(p.track_ids) for p in (sequence.truth, sequence.prediction))
    partners = np.full((len(sequence.truth), len(JOINTS)), -1)
    parts = []
    for block in sequence.blocks(frames):
        if one_sided_as_pair and 0 in block.shape:
            parts.append(_one_miss_and_one_false_positive())
        else:
            ids = truth_ids[block.truth], prediction_ids[block.prediction]
            parts.append(_count_frame(sequence, block, partners, *ids))
    return add_mot_counts(parts)


def _dense(track_ids: Int) -> Int:
    return np.unique(track_ids, return_inverse=True)[1]


def _one_miss_and_one_false_positive() -> MotCounts:
    one, none = np.ones(len(JOINTS)), np.zeros(len(JOINTS))
    return MotCounts(objects=one, misses=one, switches=none, false_positives=one, detections=none, distance=none)


def _count_frame(sequence: Sequence, block: Block, partners: Int, truth_ids: Int, prediction_ids: Int) -> MotCounts:
    """Pairs one frame and counts; ``partners`` [track, J], everybody's last partner, is brought up to date."""
    distance = sequence.distance[block.pairs].reshape(block.shape)
    in_truth, in_prediction = sequence.truth.present[block.truth], sequence.prediction.present[block.prediction]
    last = partners[truth_ids]
    kept = _kept_pairs(distance <= MATCH_DISTANCE, last, prediction_ids)
    new = _new_pairs(distance, kept, in_truth, in_prediction)
    n, p, joint = np.nonzero(kept | new)
    partners[truth_ids[n], joint] = prediction_ids[p]
    detections = (kept | new).sum((0, 1))
    return MotCounts(
        objects=in_truth.sum(0),
        misses=in_truth.sum(0) - detections,
        switches=(new & (last >= 0)[:, None]).sum((0, 1)),
        false_positives=in_prediction.sum(0) - detections,
        detections=detections,
        distance=np.where(kept | new, distance, 0).sum((0, 1)),
    )


def _kept_pairs(match: Bool, last: Int, prediction_ids: Int) -> Bool:
    """bool [N, P, J]: matches that go on; of two people who had the same partner the first in file order keeps it."""
    kept: Bool = match & (last[:, None] == prediction_ids[:, None])
    kept &= kept.cumsum(0) == 1
    return kept


def _new_pairs(distance: Float, kept: Bool, in_truth: Bool, in_prediction: Bool) -> Bool:
    """bool [N, P, J]: pairing of those without a kept partner; as many pairs as possible, then the nearest."""
    free = (distance <= MATCH_DISTANCE) & ~kept.any(0, keepdims=True) & ~kept.any(1, keepdims=True)
    # Dearer than any set of allowed pairs, so that it never pays to leave one out.
    forbidden = 1.0 + 2 * min(free.shape[:2]) * MATCH_DISTANCE
    return pair_joints(np.where(free, distance, forbidden), free, in_truth, in_prediction)

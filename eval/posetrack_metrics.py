"""From counts of sequences to PoseTrack's metrics: average precision, CLEAR MOT and HOTA, all in percent.

An undefined value is NaN in here and null in files.
"""

from dataclasses import dataclass

import numpy as np

from eval.clear_mot import MotCounts, add_mot_counts
from eval.hota import HotaCounts
from eval.pose_assignment import area_under, precision_recall
from eval.posetrack_frames import GROUPS, JOINTS, Bool, Float, Int

Metrics = dict[str, Float]


@dataclass(frozen=True)
class SequenceCounts:
    """All that the metrics need of one sequence.

    Attributes:
        name: the ground-truth file's stem.
        frames: number of frames that average precision counts.
        joint, score, correct: every predicted joint (S of them): type, score, and whether it is right.
        positives: int64 [J], annotated joints.
        mot, hota: sums over frames.
        unscored: predicted people without joint scores.
    """

    name: str
    frames: int
    joint: Int
    score: Float
    correct: Bool
    positives: Int
    mot: MotCounts
    hota: HotaCounts
    unscored: int


def metrics_of(sequences: list[SequenceCounts], strict: bool) -> Metrics:
    """Every metric, float64 [J + 1] in percent: the joints of `JOINTS` and their mean; NaN where undefined.

    Undefined joints are left out of the mean. ``strict`` makes undefined what the official evaluator calls zero, and
    lets joints of equal score enter the precision-recall curve together.
    """
    per_joint = {**_average_precision(sequences, strict), **_mot(sequences, strict), **_hota(sequences)}
    return {name: np.append(values, _mean(values)) for name, values in per_joint.items()}


def _mean(values: Float) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _average_precision(sequences: list[SequenceCounts], strict: bool) -> Metrics:
    joint, score, correct = (np.concatenate([getattr(s, n) for s in sequences]) for n in ("joint", "score", "correct"))
    positives = np.sum([s.positives for s in sequences], axis=0)
    rows = [_joint_ap(score[joint == j], correct[joint == j], int(positives[j]), strict) for j in range(len(JOINTS))]
    return dict(zip(("ap", "ap_precision", "ap_recall"), 100 * np.array(rows).T, strict=True))


def _joint_ap(score: Float, correct: Bool, positives: int, strict: bool) -> Float:
    """Average precision, last precision and last recall of one joint type."""
    undefined = float("nan")
    if not len(score):
        return np.array([undefined] * 3 if strict and not positives else [0.0, undefined if strict else 0.0, 0.0])
    if not positives:
        return np.array([undefined, 0.0, undefined])
    precision, recall = precision_recall(score, correct, positives, ties_together=strict)
    return np.array([area_under(precision, recall), precision[-1], recall[-1]])


def _mot(sequences: list[SequenceCounts], strict: bool) -> Metrics:
    """MOTP here is the mean overlap of matches and switches; the official tool also adds other events to its sum."""
    counts = add_mot_counts([s.mot for s in sequences])
    predicted = counts.detections + counts.false_positives
    motp = 1 - _divide(counts.distance, counts.detections)
    return {
        "mota": 100 * (1 - _divide(counts.misses + counts.switches + counts.false_positives, counts.objects)),
        "motp": 100 * (motp if strict else np.where(counts.detections > 0, motp, 0.0)),
        "mot_precision": 100 * _divide(counts.detections, predicted),
        "mot_recall": 100 * _divide(counts.detections, counts.objects),
    }


def _hota(sequences: list[SequenceCounts]) -> Metrics:
    """Mean over thresholds of HOTA = sqrt(DetA * AssA) and of its two parts; undefined without annotated joints."""
    found, misses, false_positives, association = (
        np.sum([getattr(s.hota, name) for s in sequences], axis=0)
        for name in ("true_positives", "misses", "false_positives", "association")
    )
    detection = _divide(found, np.where(found + misses > 0, found + misses + false_positives, 0))
    association = association / np.maximum(1, found) + 0 * detection
    parts = {"hota": np.sqrt(detection * association), "deta": detection, "assa": association}
    return {name: 100 * part.mean(0) for name, part in parts.items()}


def _divide(numerator: Float, denominator: Float) -> Float:
    """Quotient, NaN where the denominator is zero."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def by_name(values: Float) -> dict[str, float | None]:
    """Joint name (and `total`) -> percent, None where undefined."""
    names = (*JOINTS, "total")
    return {name: None if np.isnan(v) else float(v) for name, v in zip(names, values, strict=True)}


def by_group(values: Float) -> dict[str, float | None]:
    """Mean over each group of joints, None where one of them is undefined."""
    means = {group: values[[JOINTS.index(j) for j in joints]].mean() for group, joints in GROUPS.items()}
    return {group: None if np.isnan(mean) else float(mean) for group, mean in means.items()}

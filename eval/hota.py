"""Keypoint HOTA as PoseTrack21 defines it (Doering et al. 2022), counts of TrackEval's HOTA per joint type.

Two joints are similar by max(0, 1 - d / 0.5001), d their distance in head sizes. In every labelled frame joints are
paired so that similarity times the tracks' overall agreement is largest; a pair is a true positive at each threshold
alpha that its similarity reaches. Unlike PoseTrack21's own kit, a frame without people on one side adds only its own
joints as false positives or misses.

Letters: A thresholds, J joint types, E similar joints (pairs of similarity above zero), U pairs of tracks among them.
"""

from dataclasses import dataclass

import numpy as np

from eval.joint_pairing import pair_joints
from eval.posetrack_align import Sequence
from eval.posetrack_frames import JOINTS, Bool, Float, Int, People

ALPHAS = np.arange(0.05, 0.99, 0.05)
# A little more than half a head size, so that a joint that the PCKh rule accepts is similar.
_REACH = 0.5001


@dataclass(frozen=True)
class HotaCounts:
    """Sums over frames, float64 [A, J] each; ``association`` sums the association score of every true positive."""

    true_positives: Float
    misses: Float
    false_positives: Float
    association: Float


@dataclass(frozen=True)
class _Similar:
    """Joints of similarity above zero: which pair of people, joint type, similarity, and which pair of tracks."""

    pair: Int
    joint: Int
    similarity: Float
    tracks: Int

    def take(self, rows: Bool) -> "_Similar":
        return _Similar(self.pair[rows], self.joint[rows], self.similarity[rows], self.tracks[rows])


@dataclass(frozen=True)
class _Tracks:
    """Pairs of tracks that ever have similar joints: their joint type and how often either has the joint, [U] each."""

    joint: Int
    truth_length: Float
    prediction_length: Float


def hota(sequence: Sequence) -> HotaCounts:
    """Counts over all labelled frames of a sequence."""
    similarity = np.maximum(0.0, 1.0 - sequence.distance / _REACH)
    similar, tracks = _similar_joints(sequence, similarity)
    score = np.zeros_like(similarity)
    score[similar.pair, similar.joint] = _agreement(sequence, similarity, similar, tracks) * similar.similarity
    paired = _paired(sequence, score)
    hits = similar.take(paired[similar.pair, similar.joint])
    found, association = _by_threshold(hits, tracks)
    objects, predicted = sequence.truth.present.sum(0), sequence.prediction.present.sum(0)
    return HotaCounts(found, objects - found, predicted - found, association)


def _similar_joints(sequence: Sequence, similarity: Float) -> tuple[_Similar, _Tracks]:
    pair, joint = np.nonzero(similarity > 0)
    truth, truth_lengths = _lengths(sequence.truth)
    prediction, prediction_lengths = _lengths(sequence.prediction)
    a, b = truth[sequence.pair_truth[pair]], prediction[sequence.pair_prediction[pair]]
    keys, tracks = np.unique((a * len(prediction_lengths) + b) * len(JOINTS) + joint, return_inverse=True)
    a, b = np.divmod(keys // len(JOINTS), len(prediction_lengths)) if len(keys) else (keys, keys)
    of_joint = keys % len(JOINTS)
    lengths = _Tracks(of_joint, truth_lengths[a, of_joint], prediction_lengths[b, of_joint])
    return _Similar(pair, joint, similarity[pair, joint], tracks), lengths


def _lengths(people: People) -> tuple[Int, Float]:
    """Each person's track, numbered from 0, and in how many frames each track has each joint, [tracks, J]."""
    track_ids, track = np.unique(people.track_ids, return_inverse=True)
    lengths = np.zeros((len(track_ids), len(JOINTS)))
    np.add.at(lengths, track, people.present)
    return track, lengths


def _agreement(sequence: Sequence, similarity: Float, similar: _Similar, tracks: _Tracks) -> Float:
    """float64 [E]: Jaccard index of the two tracks, matches weighted by their share of the frame's similarity."""
    of_truth, of_prediction = np.zeros(sequence.truth.present.shape), np.zeros(sequence.prediction.present.shape)
    np.add.at(of_truth, sequence.pair_truth, similarity)
    np.add.at(of_prediction, sequence.pair_prediction, similarity)
    rows, columns = sequence.pair_truth[similar.pair], sequence.pair_prediction[similar.pair]
    both = of_truth[rows, similar.joint] + of_prediction[columns, similar.joint] - similar.similarity
    common = np.bincount(similar.tracks, similar.similarity / both, len(tracks.joint))
    return (common / (tracks.truth_length + tracks.prediction_length - common))[similar.tracks]


def _paired(sequence: Sequence, score: Float) -> Bool:
    """bool [M, J]: the one-to-one pairing of largest total score in every frame, for every joint type."""
    paired = np.zeros(score.shape, dtype=bool)
    for block in sequence.blocks(np.arange(len(sequence.annotated))):
        scores = score[block.pairs].reshape(block.shape)
        present = sequence.truth.present[block.truth], sequence.prediction.present[block.prediction]
        paired[block.pairs] = pair_joints(-scores, scores > 0, *present).reshape(-1, len(JOINTS))
    return paired


def _by_threshold(hits: _Similar, tracks: _Tracks) -> tuple[Float, Float]:
    """True positives and the sum of their association scores, float64 [A, J] each."""
    found, association = np.zeros((len(ALPHAS), len(JOINTS))), np.zeros((len(ALPHAS), len(JOINTS)))
    for a, alpha in enumerate(ALPHAS):
        reached = hits.take(hits.similarity >= alpha - np.finfo(float).eps)
        together = np.bincount(reached.tracks, minlength=len(tracks.joint))
        jaccard = together / np.maximum(1, tracks.truth_length + tracks.prediction_length - together)
        found[a] = np.bincount(reached.joint, minlength=len(JOINTS))
        association[a] = np.bincount(tracks.joint, together * jaccard, len(JOINTS))
    return found, association

import dataclasses
import math
from itertools import permutations

import numpy as np
import pytest

from eval.hota import ALPHAS, hota
from eval.posetrack import evaluate_posetrack
from eval.posetrack_align import align
from eval.posetrack_read import read_posetrack
from tests.posetrack_random import write_perfect_set, write_random_set

# Percent; sums in another order.
ROUNDING = 1e-9


def joint_frames(sequence, joint):
    """Per labelled frame: annotated tracks, predicted tracks and their similarities, of one joint type."""
    for block in sequence.blocks(np.arange(len(sequence.annotated))):
        in_truth = sequence.truth.present[block.truth, joint]
        in_prediction = sequence.prediction.present[block.prediction, joint]
        distance = sequence.distance[block.pairs, joint].reshape(block.shape[:2])
        similarity = np.maximum(0, 1 - distance / 0.5001)[np.ix_(in_truth, in_prediction)]
        truth, prediction = sequence.truth.track_ids[block.truth], sequence.prediction.track_ids[block.prediction]
        yield truth[in_truth], prediction[in_prediction], similarity


def sequences(folders):
    for path in sorted(folders[0].glob("*.json")):
        yield align(read_posetrack(path, "ground truth"), read_posetrack(folders[1] / path.name, "prediction"))


def agreement(frames, a, b):
    """Jaccard index of track a and track b; a frame's match counts by its share of the similarity around it."""
    common = length = 0.0
    for truth, prediction, similarity in frames:
        length += (truth == a).sum() + (prediction == b).sum()
        if (truth == a).any() and (prediction == b).any():
            i, k = (truth == a).argmax(), (prediction == b).argmax()
            around = similarity[i].sum() + similarity[:, k].sum() - similarity[i, k]
            common += similarity[i, k] / around if around > 0 else 0
    return common / (length - common)


def best_pairs(score):
    """The one-to-one pairs of largest total score, by trying everything."""
    columns = [*range(score.shape[1]), *[None] * score.shape[0]]
    choices = [[(i, k) for i, k in enumerate(c) if k is not None] for c in permutations(columns, score.shape[0])]
    return max(choices, key=lambda pairs: sum(score[pair] for pair in pairs))


def slow_counts(sequence, joint):
    """True positives and association sums at every threshold, then all annotated and all predicted joints."""
    frames, matches = list(joint_frames(sequence, joint)), []
    for truth, prediction, similarity in frames:
        score = np.array([[agreement(frames, a, b) for b in prediction] for a in truth]).reshape(similarity.shape)
        matches += [(truth[i], prediction[k], similarity[i, k]) for i, k in best_pairs(score * similarity)]
    found, association = [], []
    for alpha in ALPHAS:
        pairs = [(a, b) for a, b, s in matches if s >= alpha - 1e-12]
        found.append(len(pairs))
        association.append(sum(track_jaccard(frames, pairs, *pair) for pair in pairs))
    totals = [sum(len(frame[side]) for frame in frames) for side in (0, 1)]
    return np.array(found), np.array(association), *totals


def track_jaccard(frames, pairs, a, b):
    together = pairs.count((a, b))
    return together / (sum((t == a).sum() + (p == b).sum() for t, p, _ in frames) - together)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_slow_implementation(tmp_path, seed):
    folders = write_random_set(tmp_path, seed)
    for sequence in sequences(folders):
        counts = hota(sequence)
        for joint in range(0, 15, 4):
            found, association, objects, predicted = slow_counts(sequence, joint)
            np.testing.assert_array_equal(counts.true_positives[:, joint], found)
            np.testing.assert_array_equal(counts.misses[:, joint], objects - found)
            np.testing.assert_array_equal(counts.false_positives[:, joint], predicted - found)
            np.testing.assert_allclose(counts.association[:, joint], association, rtol=0, atol=ROUNDING)


def trackeval_input(sequence, joint):
    frames = list(joint_frames(sequence, joint))
    tracks = [np.unique(np.concatenate([frame[side] for frame in frames])) for side in (0, 1)]
    ids = [[np.searchsorted(tracks[side], frame[side]) for frame in frames] for side in (0, 1)]
    return {
        "gt_ids": ids[0], "tracker_ids": ids[1], "similarity_scores": [frame[2] for frame in frames],
        "num_gt_ids": len(tracks[0]), "num_tracker_ids": len(tracks[1]),
        "num_gt_dets": sum(map(len, ids[0])), "num_tracker_dets": sum(map(len, ids[1])),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_equals_trackeval(tmp_path, seed):
    reason = "trackeval, the oracle, is not installed (pip install --no-deps trackeval)"
    oracle = pytest.importorskip("trackeval.metrics", reason=reason).HOTA()
    folders = write_random_set(tmp_path, seed)
    metrics = evaluate_posetrack(*folders).metrics
    for joint in range(15):
        parts = {i: oracle.eval_sequence(trackeval_input(s, joint)) for i, s in enumerate(sequences(folders))}
        whole = oracle.combine_sequences(parts)
        for ours, theirs in {"hota": "HOTA", "deta": "DetA", "assa": "AssA"}.items():
            # TrackEval says 0 of a joint that is never annotated.
            expected = 100 * whole[theirs].mean() if whole["HOTA_TP"][0] + whole["HOTA_FN"][0] else math.nan
            np.testing.assert_allclose(metrics[ours][joint], expected, rtol=0, atol=ROUNDING)


def test_a_frame_without_predictions_adds_only_its_own_misses(tmp_path):
    folders = write_perfect_set(tmp_path, frames=4, people=2)
    (sequence,) = sequences(folders)
    emptied = align(read_posetrack(folders[0] / "video.json", "ground truth"), without_frame(folders[1] / "video.json"))
    assert (hota(sequence).misses == 0).all()
    assert (hota(emptied).misses == 2).all()
    assert (hota(emptied).false_positives == 0).all()


def without_frame(path):
    file = read_posetrack(path, "prediction")
    return dataclasses.replace(file, people=file.people.take(file.people.frame != 1))


def test_exchanged_ids_cost_association_only(tmp_path):
    folders = write_perfect_set(tmp_path, frames=4, people=2)
    (sequence,) = sequences(folders)
    tracks = sequence.prediction.track_ids
    tracks[sequence.prediction.frame >= 2] = 1 - tracks[sequence.prediction.frame >= 2]
    counts = hota(sequence)
    assert (counts.true_positives == 8).all()
    # Each of 8 true positives shares 2 frames of the 6 that its two tracks cover.
    np.testing.assert_allclose(counts.association, 8 * 2 / 6)

"""Brings ground truth and prediction of one sequence together: common frames, ignore regions, distances.

Letters: F frames, N annotated and P predicted people of all frames, M pairs of both within a frame, J joints.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from eval.posetrack_frames import JOINTS, Bool, Float, Int, People, PoseFile
from eval.posetrack_match import match_frames
from eval.posetrack_regions import inside_any

# PCKh@0.5: a joint is found within half a head size.
MATCH_DISTANCE = 0.5


@dataclass(frozen=True)
class Sequence:
    """The labelled frames of one sequence, ready to be counted.

    Attributes:
        annotated: bool [F], the ground-truth file lists a person in this frame.
        truth: annotated people (N) after ignore regions; ``frame`` counts labelled frames.
        prediction: predicted people (P) of the same frames.
        pair_truth, pair_prediction: int64 [M], every pair of both in one frame, frame by frame, predictions fastest.
        distance: float64 [M, J] in head sizes; infinite where either joint is absent or the head size is zero.
    """

    annotated: Bool
    truth: People
    prediction: People
    pair_truth: Int
    pair_prediction: Int
    distance: Float

    def blocks(self, frames: Int) -> Iterator["Block"]:
        """The people of each of ``frames`` (positions, ascending)."""
        truth_starts = frame_starts(self.truth, len(self.annotated))
        prediction_starts = frame_starts(self.prediction, len(self.annotated))
        pair_starts = np.append(0, np.cumsum(np.diff(truth_starts) * np.diff(prediction_starts)))
        for f in frames.tolist():
            yield Block(
                slice(truth_starts[f], truth_starts[f + 1]),
                slice(prediction_starts[f], prediction_starts[f + 1]),
                slice(pair_starts[f], pair_starts[f + 1]),
            )


@dataclass(frozen=True)
class Block:
    """Where the people of one frame and their pairs stand in the columns of a `Sequence`."""

    truth: slice
    prediction: slice
    pairs: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        """(annotated people, predicted people, joints): the shape of ``distance[pairs]`` as a table."""
        return _length(self.truth), _length(self.prediction), len(JOINTS)


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)


def align(truth: PoseFile, prediction: PoseFile) -> Sequence:
    """Labelled frames of both files with ignored joints taken out. Raises InputError where frames do not match."""
    predicted_frame = match_frames(truth, prediction)
    kept = np.flatnonzero(truth.labelled)
    position = np.full(len(truth), -1)
    position[kept] = np.arange(len(kept))
    regions = [truth.ignore_regions[f] for f in kept]
    annotated_people = without_ignored(truth.people.in_frames(position), regions)
    predicted_people = without_ignored(prediction.people.in_frames(position[predicted_frame]), regions)
    rows, columns = pairs(frame_starts(annotated_people, len(kept)), frame_starts(predicted_people, len(kept)))
    distance = distances(annotated_people.take(rows), predicted_people.take(columns))
    return Sequence(truth.annotated[kept], annotated_people, predicted_people, rows, columns, distance)


def without_ignored(people: People, regions: list[tuple[Float, ...]]) -> People:
    """``people`` without the joints inside their frame's regions, and there without those who have no joint left."""
    present, kept = people.present.copy(), np.ones(len(people), dtype=bool)
    for frame in np.flatnonzero([bool(outlines) for outlines in regions]):
        rows = np.flatnonzero(people.frame == frame)
        ignored = inside_any(people.keypoints[rows].reshape(-1, 2), regions[frame])
        present[rows] &= ~ignored.reshape(present[rows].shape)
        kept[rows] = present[rows].any(1)
    return replace(people, present=present).take(kept)


def frame_starts(people: People, frames: int) -> Int:
    """int64 [frames + 1]: people of frame f are rows starts[f] to starts[f + 1]."""
    return np.searchsorted(people.frame, np.arange(frames + 1))


def pairs(truth_starts: Int, prediction_starts: Int) -> tuple[Int, Int]:
    """Rows (int64 [M] each) of every annotated with every predicted person of the same frame."""
    annotated, predicted = np.diff(truth_starts), np.diff(prediction_starts)
    sizes = annotated * predicted
    frame = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(frame)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return truth_starts[frame] + place // predicted[frame], prediction_starts[frame] + place % predicted[frame]


def distances(truth: People, prediction: People) -> Float:
    """float64 [M, J]: Euclidean distance of row m of both in units of the annotated head size (see `Sequence`)."""
    offset = truth.keypoints - prediction.keypoints
    length = np.sqrt(offset[..., 0] * offset[..., 0] + offset[..., 1] * offset[..., 1])
    defined = truth.present & prediction.present & (truth.head_sizes[:, None] > 0)
    distance = np.full(length.shape, np.inf)
    np.divide(length, truth.head_sizes[:, None], out=distance, where=defined)
    return distance

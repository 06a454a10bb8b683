"""People followed through time, for measures that need no ground truth."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.box_overlap import box_iou
from posefix_track.crops import keypoint_boxes
from posefix_track.errors import InputError
from posefix_track.poses import FramePoses, PoseSequence

Float64 = npt.NDArray[np.float64]
Ids = list[list[Hashable]]

_LEAST_IOU = 0.3


@dataclass(frozen=True)
class Track:
    """One person over time.

    Attributes:
        name: sequence and track id, for people to read.
        keypoints: float64 [T, K, 2] image pixels in time order; NaN where absent, and one row of NaN where frames are
            missing in between.
    """

    name: str
    keypoints: Float64

    @property
    def frames(self) -> int:
        """Frames in which the person has a joint."""
        return int(np.isfinite(self.keypoints).any((1, 2)).sum())

    @property
    def size(self) -> float:
        """Median over time of the longer side of the box round the joints, in pixels."""
        boxes = keypoint_boxes(self.keypoints, np.asarray(np.isfinite(self.keypoints).all(-1)))
        sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
        return float(np.median(sides[np.isfinite(sides)]))


def paired_tracks(
    before: Sequence[PoseSequence], after: Sequence[PoseSequence]
) -> tuple[tuple[dict[str, Track], dict[str, Track]], str]:
    """The tracks of two files of the same video by name, and how people were followed, in words.

    By track ids where both files have them. Otherwise a lone person is one track; several are linked from frame to
    frame in ``before``, and ``after`` must have the same people in the same order. Raises InputError where it has not.
    """
    (first, second), how = _linked(before, after)
    return (_tracks(before, first), _tracks(after, second)), how


def _linked(before: Sequence[PoseSequence], after: Sequence[PoseSequence]) -> tuple[tuple[Ids, Ids], str]:
    """Ids of the people of every frame of both files, all sequences in a row."""
    frames = [[frame for sequence in side for frame in sequence.frames] for side in (before, after)]
    if all(frame.track_ids is not None for side in frames for frame in side if len(frame)):
        return (_own_ids(frames[0]), _own_ids(frames[1])), "people are followed by the files' track ids"
    if [len(frame) for frame in frames[0]] != [len(frame) for frame in frames[1]]:
        raise InputError("the files have no track ids and other people in some frames, so that they cannot be compared")
    if all(len(frame) <= 1 for frame in frames[0]):
        ids: Ids = [[0] * len(frame) for frame in frames[0]]
        return (ids, ids), "no track ids, at most one person a frame: taken to be one track"
    ids = [found for sequence in before for found in _chained(sequence.frames)]
    how = f"no track ids: people are linked from frame to frame by box IoU >= {_LEAST_IOU} in the first file"
    return (ids, ids), how


def _own_ids(frames: Sequence[FramePoses]) -> Ids:
    return [list(frame.track_ids or ()) for frame in frames]


def _chained(frames: Sequence[FramePoses]) -> Iterator[list[Hashable]]:
    """Give each person the number of the free person of the frame before whose box is the most similar."""
    boxes, fresh = np.empty((0, 4)), 0
    ids: list[Hashable] = []
    for frame in frames:
        now = keypoint_boxes(frame.keypoints, frame.present)
        found: list[Hashable] = [None] * len(frame)
        overlap = np.nan_to_num(box_iou(now, boxes))
        for flat in np.argsort(-overlap, axis=None, kind="stable").tolist():
            row, column = divmod(flat, len(boxes))
            if overlap[row, column] >= _LEAST_IOU and found[row] is None and ids[column] not in found:
                found[row] = ids[column]
        for row, name in enumerate(found):
            if name is None:
                found[row], fresh = fresh, fresh + 1
        boxes, ids = now, found
        yield found


def _tracks(sequences: Sequence[PoseSequence], ids: Ids) -> dict[str, Track]:
    tracks, start = {}, 0
    for sequence in sequences:
        rows: dict[Hashable, dict[int, Float64]] = {}
        for position, frame in enumerate(sequence.frames):
            index = position if frame.frame_index is None else frame.frame_index
            joints = np.where(frame.present[..., None], frame.keypoints, np.nan).astype(np.float64)
            for name, person in zip(ids[start + position], joints, strict=True):
                rows.setdefault(name, {})[index] = person
        for name, by_frame in rows.items():
            if any(np.isfinite(person).any() for person in by_frame.values()):
                track = Track(f"{sequence.name} {name}".strip(), _dense(by_frame, len(sequence.keypoint_set)))
                tracks[track.name] = track
        start += len(sequence.frames)
    return tracks


def _dense(by_frame: dict[int, Float64], joints: int) -> Float64:
    """Rows in time order with one row of NaN for every gap, however long: an index out of a file may be any number."""
    indices = np.array(sorted(by_frame))
    places = np.cumsum(np.minimum(np.diff(indices, prepend=indices[0]), 2))
    keypoints = np.full((places[-1] + 1, joints, 2), np.nan)
    keypoints[places] = [by_frame[index] for index in indices.tolist()]
    return keypoints

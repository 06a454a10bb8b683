"""PoseTrack's fifteen joints and the columns that every PoseTrack file is read into.

Letters: F frames, N people of all frames, J = 15 joints in the official order of ``JOINTS``.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

# The official evaluator's order; PoseTrack 2017 files number their points by it.
JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "head_bottom", "nose", "head_top",
)  # fmt: skip
GROUPS: dict[str, tuple[str, ...]] = {
    "Head": ("head_top", "head_bottom", "nose"),
    "Shou": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankl": ("right_ankle", "left_ankle"),
}
# What the official evaluator gives a predicted joint that has no score.
MISSING_SCORE = -9999.0


@dataclass(frozen=True)
class People:
    """People of one sequence as columns, sorted by frame and in file order within a frame.

    Attributes:
        frame: int64 [N], position of the person's frame in its list of frames.
        track_ids: int64 [N].
        keypoints: float64 [N, J, 2] in image pixels; any finite value where absent.
        present: bool [N, J], the joint is annotated (ground truth) or predicted.
        scores: float64 [N, J]; zeros for the ground truth.
        head_sizes: float64 [N] in pixels, 0.6 of the head box's diagonal; NaN for predictions.
    """

    frame: Int
    track_ids: Int
    keypoints: Float
    present: Bool
    scores: Float
    head_sizes: Float

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: Int | Bool) -> "People":
        """The people of ``rows`` (indices or a mask), in that order."""
        return People(
            self.frame[rows],
            self.track_ids[rows],
            self.keypoints[rows],
            self.present[rows],
            self.scores[rows],
            self.head_sizes[rows],
        )

    def in_frames(self, new_position: Int) -> "People":
        """The same people where frame f has become frame ``new_position[f]`` (-1: left out), sorted again."""
        moved = replace(self, frame=new_position[self.frame])
        order = np.argsort(moved.frame, kind="stable")
        return moved.take(order[moved.frame[order] >= 0])


@dataclass(frozen=True)
class PoseFile:
    """One PoseTrack file: the poses of one sequence.

    Attributes:
        where: the file's path as messages show it.
        image_ids: F image ids; None where the format has none.
        image_names: F file names as the file states them; "" where there is none.
        labelled: bool [F], somebody looked for people here (`is_labeled`, or somebody is annotated).
        annotated: bool [F], the file lists a person, be it without joints.
        ignore_regions: F tuples of outlines, each float64 [V, 2] in image pixels.
        people: everybody in the file.
        unscored: number of people without joint scores.
    """

    where: str
    image_ids: tuple[int, ...] | None
    image_names: tuple[str, ...]
    labelled: Bool
    annotated: Bool
    ignore_regions: tuple[tuple[Float, ...], ...]
    people: People
    unscored: int = 0

    def __post_init__(self) -> None:
        row = first_repeat(np.stack([self.people.frame, self.people.track_ids], 1))
        if row is not None:
            name = self.image_names[self.people.frame[row]]
            raise InputError(
                f"{self.where}: track_id {self.people.track_ids[row]} stands twice in frame {name!r}; "
                "give every person of a frame an id of their own"
            )

    def __len__(self) -> int:
        return len(self.image_names)


def first_repeat(rows: npt.NDArray[np.int64]) -> int | None:
    """Index of a row of ``rows`` [N, C] that equals another one; None where all differ."""
    order = np.lexsort(rows.T)
    repeated = (np.diff(rows[order], axis=0) == 0).all(1)
    return int(order[1:][repeated][0]) if repeated.any() else None


def head_size(width: Float, height: Float) -> Float:
    """PCKh reference length in pixels: 0.6 of the diagonal of the head box."""
    return np.asarray(0.6 * np.sqrt(width * width + height * height), dtype=np.float64)

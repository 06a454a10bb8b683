"""Poses as columns: what every reader returns, the refiner changes and every writer takes."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.keypoints import KeypointSet

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FramePoses:
    """All people of one frame.

    Attributes:
        keypoints: float32 [N, K, 2], (x, y) in image pixels, an integer is a pixel centre.
        frame_index: 0-based position of the frame in its video; None where only a file name is known.
        image_name: the image's file name or path as the pose file states it; None for videos.
        scores: float32 [N, K] joint scores of any range; None where the file has none.
        person_scores: float32 [N]; None where the file has none.
        track_ids: N ids of any hashable kind, as the file has them; None where the file has none.
    """

    keypoints: Float
    frame_index: int | None = None
    image_name: str | None = None
    scores: Float | None = None
    person_scores: Float | None = None
    track_ids: tuple[Hashable, ...] | None = None

    def __post_init__(self) -> None:
        if self.keypoints.ndim != 3 or self.keypoints.shape[2] != 2:
            raise InputError(f"keypoints must have shape [N, K, 2], got {list(self.keypoints.shape)}")
        people, joints = self.keypoints.shape[:2]
        for name, column, shape in (
            ("scores", self.scores, (people, joints)),
            ("person_scores", self.person_scores, (people,)),
        ):
            if column is not None and column.shape != shape:
                raise InputError(f"{name} must have shape {list(shape)}, got {list(column.shape)}")
        if self.track_ids is not None and len(self.track_ids) != people:
            raise InputError(f"expected {people} track ids, got {len(self.track_ids)}")

    def __len__(self) -> int:
        return int(self.keypoints.shape[0])

    def __repr__(self) -> str:
        where = self.image_name if self.frame_index is None else self.frame_index
        return f"FramePoses({where!r}, people={len(self)}, joints={self.keypoints.shape[1]})"

    @property
    def present(self) -> Bool:
        """bool [N, K]: finite, not exactly (0, 0), and of a positive score where there are scores."""
        return present_joints(self.keypoints, self.scores)

    def with_keypoints(
        self, keypoints: Float, scores: Float | None = None, person_scores: Float | None = None
    ) -> "FramePoses":
        """The same people with other coordinates, and other joint scores and person scores where given."""
        scores = self.scores if scores is None else scores
        person_scores = self.person_scores if person_scores is None else person_scores
        return replace(self, keypoints=keypoints, scores=scores, person_scores=person_scores)


@dataclass(frozen=True)
class PoseSequence:
    """The poses of one video, or of one set of images.

    Attributes:
        keypoint_set: what the K joints are.
        frames: frames that the file mentions, in file order; frames without people may be missing.
        name: tells sequences of one file or folder apart; "" where there is just one.
    """

    keypoint_set: KeypointSet
    frames: tuple[FramePoses, ...]
    name: str = ""

    def __post_init__(self) -> None:
        for frame in self.frames:
            if frame.keypoints.shape[1] != len(self.keypoint_set):
                raise InputError(
                    f"{self.name or 'poses'}: {self.keypoint_set.name} has {len(self.keypoint_set)} joints,"
                    f" but {frame!r} differs"
                )


def present_joints(keypoints: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None) -> Bool:
    """bool [..., K]: which joints of ``keypoints`` [..., K, 2] a tracker really found."""
    finite = np.isfinite(keypoints).all(-1)
    found = finite & (np.where(np.isfinite(keypoints), keypoints, 0) != 0).any(-1)
    return np.asarray(found if scores is None else found & (scores > 0))

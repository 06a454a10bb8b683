"""The people of a frame on their way through the refiner: what it was given, what it looks at, what comes out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.crops import CropTransform
from posefix_track.errors import InputError

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RefinedPoses:
    """The caller's people, row by row.

    Attributes:
        keypoints: float32 [N, K, 2], image pixels; joints that were not refined are the caller's, bit for bit.
        expected_ks: float32 [N, K], keypoint similarity to the truth expected of ``keypoints``, in [0, 1]; NaN where
            the network does not know the joint or was not asked.
        refined: bool [N, K], joints that the network has moved.
        shift: float32 [N, K], pixels between input and output; 0 where not refined.
        considered: bool [N], people that the network has looked at.
    """

    keypoints: Float
    expected_ks: Float
    refined: Bool
    shift: Float
    considered: Bool

    def __len__(self) -> int:
        return len(self.keypoints)

    def judged(self, present: Bool) -> Bool:
        """bool [N, K]: joints with a place, of which the network has said what similarity to expect.

        ``present``, bool [N, K], tells which joints had a place before.
        """
        return np.asarray(np.isfinite(self.expected_ks) & (present | self.refined))

    def split(self, people: list[int]) -> list["RefinedPoses"]:
        """The first ``people[0]`` people, the next ``people[1]``, and so on; people count N together."""
        last = np.cumsum(people)[:-1]
        columns = (self.keypoints, self.expected_ks, self.refined, self.shift, self.considered)
        return [RefinedPoses(*parts) for parts in zip(*(np.split(column, last) for column in columns), strict=True)]

    def __repr__(self) -> str:
        return f"RefinedPoses(people={len(self)}, joints={self.keypoints.shape[1]}, moved={int(self.refined.sum())})"


@dataclass(frozen=True)
class Answers:
    """What the network says of the caller's N people before the gate decides; NaN where it was not asked.

    Attributes:
        keypoints: float32 [N, K, 2], refined positions in image pixels.
        expected_ks: float32 [N, K, 2], similarity to the truth expected of the refined and of the caller's joint.
        distance: float32 [N, K] between both, in standard deviations of keypoint similarity.
    """

    keypoints: Float
    expected_ks: Float
    distance: Float


@dataclass(frozen=True)
class Prepared:
    """One frame on its way to the engine.

    Attributes:
        keypoints: the caller's, float32 [N, K, 2].
        rows: int64 [P], the people to look at.
        crops: of the P people, as ``Inference.crop`` makes them.
        poses: float32 [P, J, 2] and present bool [P, J]: network input, crop pixels.
        transform: of the P crops.
    """

    keypoints: Float
    rows: Int
    crops: Any
    poses: Float
    present: Bool
    transform: CropTransform


def shift_of(before: Float, after: Float, refined: Bool) -> Float:
    """Pixels between two positions [N, K, 2] of the joints that were ``refined`` [N, K], 0 for the others."""
    zeros = np.zeros_like(after)
    way = np.subtract(after, before, out=zeros, where=np.broadcast_to(refined[..., None], zeros.shape))
    return np.asarray(np.linalg.norm(way, axis=-1), np.float32)


def together(frames: list[Prepared]) -> Prepared:
    """All people of several frames, at least one, as if of one; without their crops."""
    if len(frames) == 1:
        return frames[0]
    first = np.cumsum([0, *(len(frame.keypoints) for frame in frames[:-1])])
    return Prepared(
        np.concatenate([frame.keypoints for frame in frames]),
        np.concatenate([frame.rows + before for frame, before in zip(frames, first, strict=True)]),
        None,
        np.concatenate([frame.poses for frame in frames]),
        np.concatenate([frame.present for frame in frames]),
        CropTransform(np.concatenate([f.transform.image_to_crop for f in frames]), frames[0].transform.input_size),
    )


def checked_input(frame_bgr: object, keypoints: object, scores: object, joints: int) -> tuple[Float, Float | None]:
    """A caller's poses as float32 [N, K, 2] and scores [N, K] or None; a third column of ``keypoints`` holds scores.

    Raises InputError where they have another shape or are no numbers, or the image is no array, such as the None that
    OpenCV gives for what it cannot read.
    """
    if not hasattr(frame_bgr, "shape"):
        raise InputError(f"an image must be uint8 [H, W, 3], got {type(frame_bgr).__name__}; could it be read?")
    points = _numbers(keypoints, "keypoints")
    if points.shape == (0,):
        points = points.reshape(0, joints, 2)
    if points.ndim != 3 or points.shape[1] != joints or points.shape[2] not in (2, 3):
        raise InputError(f"keypoints must have shape [N, {joints}, 2 or 3], got {list(points.shape)}")
    known = points[..., 2] if scores is None and points.shape[2] == 3 else None
    known = known if scores is None else _numbers(scores, "scores")
    if known is not None and known.shape == (0,):
        known = known.reshape(0, joints)
    if known is not None and known.shape != points.shape[:2]:
        raise InputError(f"scores must have shape {list(points.shape[:2])}, got {list(known.shape)}")
    return np.ascontiguousarray(points[..., :2]), known


def _numbers(values: object, what: str) -> Float:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be numbers, in rows of the same length: {error}") from error

"""Annotated people and detected poses as columns over all images.

N annotated people, M detections, K joints; ``image`` columns number the images of the whole comparison from 0.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.error_classes import AnnotatedPeople
from posefix_track.errors import InputError
from posefix_track.keypoints import KeypointSet
from posefix_track.oks import Bool, Float64

Int = npt.NDArray[np.int64]

# COCO leaves smaller people out of the keypoint evaluation: 32^2 square pixels.
AREA_LIMIT = 1024.0


@dataclass(frozen=True)
class People(AnnotatedPeople):
    """Annotated people.

    Attributes:
        bbox_xyxy: float64 [N, 4] image pixels.
        crowd: bool [N]: the annotation is of a crowd, which any number of detections may match.
        ids: what the files call them.
    """

    bbox_xyxy: Float64
    crowd: Bool
    ids: tuple[Hashable, ...]

    @property
    def below_limit(self) -> Bool:
        """bool [N]: too small for COCO's keypoint evaluation."""
        return self.area < AREA_LIMIT

    @property
    def ignored(self) -> Bool:
        """bool [N]: COCO neither rewards nor punishes a detection of them."""
        return self.crowd | ~self.labelled.any(1) | self.below_limit


@dataclass(frozen=True)
class Detections:
    """Detected poses.

    Attributes:
        image: int64 [M] image number.
        keypoints: float64 [M, K, 2] image pixels.
        present: bool [M, K]: False where the tracker found no joint.
        scores: float64 [M] person scores.
        ids: ``id`` fields where every pose has one, else None.
        track_ids: likewise.
    """

    image: Int
    keypoints: Float64
    present: Bool
    scores: Float64
    ids: tuple[Hashable, ...] | None = None
    track_ids: tuple[Hashable, ...] | None = None

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Comparison:
    """The same images with annotated people and with poses before and after refinement.

    Attributes:
        keypoint_set: what the K joints are.
        people: the annotated people.
        before: the poses that went in.
        after: the poses that came out.
        image_names: file name of each image.
        image_ids: what the annotation file calls each image.
        sequences: name of the sequence of each image; "" where the files know none.
        notes: what had to be assumed, in words.
    """

    keypoint_set: KeypointSet
    people: People
    before: Detections
    after: Detections
    image_names: tuple[str, ...]
    image_ids: tuple[Hashable, ...]
    sequences: tuple[str, ...]
    notes: tuple[str, ...] = ()


def pair_detections(before: Detections, after: Detections) -> Int:
    """Which detection of ``after`` is the refined one of each of ``before``: int64 [M].

    Told by ``id`` where both files have unique ones, else by image and ``track_id``, else by image and position.
    Raises InputError where a pose has no partner in the same image.
    """
    keys = next(pair for pair in _keys(before, after) if pair is not None)
    position = {key: i for i, key in enumerate(keys[1])}
    if len(before) != len(after) or not position.keys() >= set(keys[0]):
        raise InputError(
            f"the {len(before)} poses of 'before' and the {len(after)} of 'after' differ in number or place; give the"
            " same poses in the same order, or match each side on its own (--pair each)"
        )
    partner = np.array([position[key] for key in keys[0]], dtype=np.int64)
    if (before.image != after.image[partner]).any():
        raise InputError("poses with the same id are in different images before and after; use --pair each")
    return partner


def rows_by_image(image: Int, order: Int) -> dict[int, Int]:
    """The rows of each image number, in the order in which ``order`` lists them."""
    order = order[np.argsort(image[order], kind="stable")]
    starts = np.flatnonzero(np.diff(image[order], prepend=-1))
    return {int(image[rows[0]]): rows for rows in np.split(order, starts[1:]) if len(rows)}


def _keys(before: Detections, after: Detections) -> list[tuple[Sequence[Hashable], Sequence[Hashable]] | None]:
    """Ways to name the poses of both sides alike, the surest first; None where a way does not exist."""
    by_id = _unique(before.ids, after.ids)
    by_track = _unique(_with_image(before, before.track_ids), _with_image(after, after.track_ids))
    positions = _with_image(before, _positions(before)) or [], _with_image(after, _positions(after)) or []
    return [by_id, by_track, positions]


def _unique(
    before: Sequence[Hashable] | None, after: Sequence[Hashable] | None
) -> tuple[Sequence[Hashable], Sequence[Hashable]] | None:
    if before is None or after is None or len(set(before)) < len(before) or len(set(after)) < len(after):
        return None
    return before, after


def _with_image(detections: Detections, names: Sequence[Hashable] | None) -> list[Hashable] | None:
    return None if names is None else list(zip(detections.image.tolist(), names, strict=True))


def _positions(detections: Detections) -> list[int]:
    """Position of each pose among those of its image, in file order."""
    position = np.empty(len(detections), np.int64)
    for rows in rows_by_image(detections.image, np.arange(len(detections))).values():
        position[rows] = np.arange(len(rows))
    return position.tolist()

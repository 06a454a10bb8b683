"""A batch of training people as columns, in image pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from posefix_track.crops import CropTransform
from trainer.people import Bool, Float64, Person


@dataclass(frozen=True)
class Columns:
    """B people.

    Attributes:
        keypoints: float64 [B, 19, 2], the truth; labelled: bool [B, 19].
        near: float64 [B, M, 19, 2], joints of near persons; near_labelled: bool [B, M, 19].
        estimate: float64 [B, 19, 2], one estimator's pose of each; estimated: bool [B, 19].
        bbox_xyxy: float64 [B, 4], tight.
    """

    keypoints: Float64
    labelled: Bool
    near: Float64
    near_labelled: Bool
    estimate: Float64
    estimated: Bool
    bbox_xyxy: Float64

    @property
    def area(self) -> Float64:
        """Of the tight boxes, float64 [B] square pixels."""
        return np.asarray((self.bbox_xyxy[:, 2:] - self.bbox_xyxy[:, :2]).prod(1))

    def labelled_within(self, transform: CropTransform) -> "Columns":
        """The same where joints outside their crop count as not labelled, near persons' as well (released code)."""
        near = _inside(transform, self.near.reshape(len(self.near), -1, 2)).reshape(self.near_labelled.shape)
        labelled = self.labelled & _inside(transform, self.keypoints)
        return replace(self, labelled=labelled, near_labelled=self.near_labelled & near)


def stacked(people: Sequence[Person], rng: np.random.Generator) -> Columns:
    """People -> columns; where a person has several estimates, one is drawn."""
    most = max(len(p.near) for p in people)
    near, near_labelled = np.zeros((len(people), most, 19, 2)), np.zeros((len(people), most, 19), bool)
    estimate, estimated = np.zeros((len(people), 19, 2)), np.zeros((len(people), 19), bool)
    for i, person in enumerate(people):
        near[i, : len(person.near)], near_labelled[i, : len(person.near)] = person.near, person.near_labelled
        if len(person.estimates):
            drawn = rng.integers(len(person.estimates))
            estimate[i], estimated[i] = person.estimates[drawn], person.estimated[drawn]
    keypoints, labelled = np.stack([p.keypoints for p in people]), np.stack([p.labelled for p in people])
    boxes = np.stack([p.bbox_xyxy for p in people])
    return Columns(keypoints, labelled, near, near_labelled, estimate, estimated, boxes)


def _inside(transform: CropTransform, points: Float64) -> Bool:
    height, width = transform.input_size
    moved = transform.to_crop(points)
    return np.asarray((moved >= 0).all(2) & (moved[..., 0] < width) & (moved[..., 1] < height))

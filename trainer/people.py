"""Training people in columns: union-19 joints, near persons, other estimators' poses."""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from posefix_track.box_overlap import box_iou
from posefix_track.keypoints import UNION_19, KeypointSet

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

# Box overlap from which another person counts as near (released code of PoseFix).
_NEAR_IOU = 0.1


@dataclass(frozen=True)
class Person:
    """One training person, in image pixels.

    Attributes:
        image: name within the data set's images.
        keypoints: float64 [19, 2]; labelled: bool [19].
        near: float64 [M, 19, 2], joints of overlapping people; near_labelled: bool [M, 19].
        estimates: float64 [E, 19, 2], poses that estimators gave; estimated: bool [E, 19], which joints they have.
        bbox_xyxy: float64 [4], the tight box.
    """

    image: str
    keypoints: Float64
    labelled: Bool
    near: Float64
    near_labelled: Bool
    estimates: Float64
    estimated: Bool
    bbox_xyxy: Float64

    @property
    def area(self) -> float:
        """Of the tight box, square pixels."""
        return float((self.bbox_xyxy[2:] - self.bbox_xyxy[:2]).prod())


class Persons(Protocol):
    """A list of people, or something that makes them when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Person: ...

    def __iter__(self) -> Iterator[Person]: ...


@dataclass(frozen=True)
class Annotated:
    """One annotation as a data set has it, in union-19 joints.

    Attributes:
        id: unique within the data set.
        keypoints: float64 [19, 2]; labelled: bool [19].
        bbox_xyxy: float64 [4].
        is_target: whether to train on this person, rather than only to know that it is near.
    """

    id: Hashable
    keypoints: Float64
    labelled: Bool
    bbox_xyxy: Float64
    is_target: bool = True

    @property
    def problem(self) -> str:
        """Why nobody can train on this, or ""."""
        if not (np.isfinite(self.bbox_xyxy).all() and np.isfinite(self.keypoints).all()):
            return "a number that is not finite"
        if not (self.bbox_xyxy[2:] > self.bbox_xyxy[:2]).all():
            return "a box without area"
        return "" if self.labelled.any() else "no labelled joint"


@dataclass(frozen=True)
class Picture:
    """One picture's annotations: the picture's id and name in its data set, and its people."""

    id: Hashable
    name: str
    people: list[Annotated]


# One estimator's pose in union-19 joints, [19, 2] image pixels, and which joints it has [19].
Pose = tuple[Float64, Bool]


@dataclass(frozen=True)
class PersonTable:
    """T people to train on, as columns: a hundred thousand of them as objects would be copied into every loader.

    Attributes:
        images: name of each picture.
        picture: int64 [A], of all usable annotations; keypoints [A, 19, 2], labelled [A, 19], bbox_xyxy [A, 4].
        target: int64 [T], which of them are trained on.
        near: int64, rows of near persons, those of person t from near_start[t] to near_start[t + 1].
        estimates: float64 [P, 19, 2] and estimated bool [P, 19], likewise by estimates_start.
    """

    images: list[str]
    picture: Int
    keypoints: Float64
    labelled: Bool
    bbox_xyxy: Float64
    target: Int
    near_start: Int
    near: Int
    estimates_start: Int
    estimates: Float64
    estimated: Bool

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: int, /) -> Person:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self.target[index]
        near = self.near[self.near_start[index] : self.near_start[index + 1]]
        poses = slice(self.estimates_start[index], self.estimates_start[index + 1])
        return Person(
            self.images[self.picture[row]], self.keypoints[row], self.labelled[row], self.keypoints[near],
            self.labelled[near], self.estimates[poses], self.estimated[poses], self.bbox_xyxy[row],
        )  # fmt: skip

    def __iter__(self) -> Iterator[Person]:
        return (self[i] for i in range(len(self)))


@dataclass
class _Columns:
    """The table while it grows."""

    images: list[str] = field(default_factory=list)
    picture: list[int] = field(default_factory=list)
    people: list[Annotated] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    near: list[Int] = field(default_factory=list)
    poses: list[Sequence[Pose]] = field(default_factory=list)

    def add(self, picture: Picture, people: list[Annotated], poses: Mapping[Hashable, Sequence[Pose]]) -> None:
        first = len(self.people)
        near = _near(np.stack([one.bbox_xyxy for one in people]))
        for i in (i for i, one in enumerate(people) if one.is_target):
            self.target.append(first + i)
            self.near.append(first + np.flatnonzero(near[i]))
            self.poses.append(poses.get(people[i].id, ()))
        self.people += people
        self.picture += [len(self.images)] * len(people)
        self.images.append(picture.name)

    def table(self) -> PersonTable:
        poses = [pose for group in self.poses for pose in group]
        return PersonTable(
            images=self.images,
            picture=np.array(self.picture, np.int64),
            keypoints=np.array([one.keypoints for one in self.people], np.float64).reshape(-1, 19, 2),
            labelled=np.array([one.labelled for one in self.people], bool).reshape(-1, 19),
            bbox_xyxy=np.array([one.bbox_xyxy for one in self.people], np.float64).reshape(-1, 4),
            target=np.array(self.target, np.int64),
            near_start=_starts(self.near),
            near=np.concatenate([np.zeros(0, np.int64), *self.near]),
            estimates_start=_starts(self.poses),
            estimates=np.array([pose for pose, _ in poses], np.float64).reshape(-1, 19, 2),
            estimated=np.array([has for _, has in poses], bool).reshape(-1, 19),
        )


def person_table(
    pictures: list[Picture], at_hand: Sequence[bool], poses: Mapping[Hashable, Sequence[Pose]]
) -> tuple[PersonTable, Counter[str]]:
    """The people that can be trained on, and how many were skipped for which reason.

    Args:
        pictures: annotations by picture.
        at_hand: whether each picture can be read.
        poses: estimators' poses by annotation id.
    """
    columns, skipped = _Columns(), Counter[str]()
    for picture, readable in zip(pictures, at_hand, strict=True):
        targets = [one for one in picture.people if one.is_target]
        if not readable:
            skipped["no such picture"] += len(targets)
            continue
        skipped.update(one.problem for one in targets if one.problem)
        usable = [one for one in picture.people if not one.problem]
        if any(one.is_target for one in usable):
            columns.add(picture, usable, poses)
    return columns.table(), +skipped


def to_union(triplets: Float64, source: KeypointSet) -> Pose:
    """[K, 3] (x, y, v) of ``source`` -> union-19 positions [19, 2] and which of them are labelled [19]."""
    order = UNION_19.map_from(source)
    labelled = (order >= 0) & (triplets[order, 2] > 0)
    return np.where(labelled[:, None], triplets[order, :2], 0.0), labelled


def _near(boxes: Float64) -> Bool:
    near = box_iou(boxes, boxes) >= _NEAR_IOU
    np.fill_diagonal(near, False)
    return near


def _starts(groups: Sequence[Sequence[object] | Int]) -> Int:
    return np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)

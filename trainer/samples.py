"""People -> training batches: erroneous input poses, crops as at test time, augmentation; seeded by step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from posefix_track.crops import CropTransform
from posefix_track.errors import InputError
from posefix_track.keypoints import UNION_19, KeypointSet
from posefix_track.oks import AREA_OF_BOX
from posefix_track.synthesis import ErrorModel
from trainer.augment import (
    annotation_transform,
    coarsen,
    half_bodies,
    mirrored,
    occlude,
    paste,
    pose_transform,
    recolour,
)
from trainer.columns import Columns, stacked
from trainer.datasets import Dataset
from trainer.images import Image, Pictures
from trainer.input_poses import input_poses
from trainer.people import Bool, Float64, Person
from trainer.recipe import Recipe

# People who are drawn together from one stream of random numbers; a batch is the same however many processes share it.
BLOCK = 16


@dataclass(frozen=True)
class Batch:
    """B samples with the K joints of the network.

    Attributes:
        images: uint8 [B, H, W, 3] BGR crops.
        keypoints, present: input pose, float32 [B, K, 2] crop pixels and bool [B, K].
        targets, labelled: truth, likewise; labelled joints may lie outside the crop.
        area: float32 [B], square crop pixels that OKS is measured by.
    """

    images: Tensor
    keypoints: Tensor
    present: Tensor
    targets: Tensor
    labelled: Tensor
    area: Tensor

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory (called by the loader)."""
        return Batch(*(column.pin_memory() for column in vars(self).values()))

    def to(self, device: torch.device) -> "Batch":
        """The same on ``device``."""
        return Batch(*(column.to(device, non_blocking=True) for column in vars(self).values()))


class Samples(torch.utils.data.Dataset[Batch]):
    """Batch number ``step`` of a run; the same for the same recipe, data and step.

    Args:
        datasets: drawn from by their weights.
        recipe: with the run's length in steps.
        error_model: in place of the published errors.
        process, processes: which part of every batch to make, of how many equal ones.

    Raises:
        InputError: a batch that cannot be divided among the processes.
    """

    def __init__(
        self,
        datasets: list[Dataset],
        recipe: Recipe,
        error_model: ErrorModel | None = None,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.datasets, self.recipe, self.error_model = datasets, recipe, error_model
        weights = np.array([d.weight for d in datasets], np.float64)
        self.shares = weights / weights.sum()
        size = recipe.train.batch_size
        if processes > 1 and size % (BLOCK * processes):
            raise InputError(f"batch_size must be a multiple of {BLOCK} * {processes} processes, got {size}")
        firsts = np.array_split(np.arange(0, size, BLOCK), processes)[process]
        self._blocks = [(first // BLOCK, min(BLOCK, size - first)) for first in firsts.tolist()]

    def __len__(self) -> int:
        return self.recipe.train.steps

    @property
    def epoch_steps(self) -> int:
        """Steps that draw as many people as there are."""
        return math.ceil(sum(len(d.people) for d in self.datasets) / self.recipe.train.batch_size)

    def __getitem__(self, step: int) -> Batch:
        # OpenCV would start threads of its own in every loader worker.
        cv2.setNumThreads(1)
        blocks = [self._block(step, number, size) for number, size in self._blocks]
        return Batch(*(torch.cat(columns) for columns in zip(*(vars(b).values() for b in blocks), strict=True)))

    def _block(self, step: int, number: int, size: int) -> Batch:
        rng = np.random.default_rng([self.recipe.train.seed, step, number])
        chosen = [self.datasets[d] for d in rng.choice(len(self.datasets), size, p=self.shares)]
        people = [d.people[int(rng.integers(len(d.people)))] for d in chosen]
        return make_batch(people, [d.images for d in chosen], self.recipe, rng, self.error_model)


def make_batch(
    people: Sequence[Person],
    pictures: Sequence[Pictures],
    recipe: Recipe,
    rng: np.random.Generator,
    error_model: ErrorModel | None = None,
) -> Batch:
    """One sample of each person, whose image is in ``pictures`` of the same number."""
    columns = stacked(people, rng)
    if recipe.augment.annotation_padding:
        transform = annotation_transform(columns, recipe, rng)
        columns = columns.labelled_within(transform)
        poses, present = input_poses(columns, recipe.synthesis, rng, error_model)
    else:
        poses, present = input_poses(columns, recipe.synthesis, rng, error_model)
        present = half_bodies(present, columns.labelled, recipe.augment.half_body, rng)
        transform = pose_transform(poses, present, recipe, rng)
    flipped = rng.random(len(people)) < 0.5
    transform = mirrored(transform, flipped)
    crops = cut(transform, [(p, one.image) for p, one in zip(pictures, people, strict=True)], recipe.network.antialias)
    paste(crops, recipe.augment, rng)
    for crop in crops:
        recolour(crop, recipe.augment, rng)
        coarsen(crop, recipe.augment, rng)
        occlude(crop, recipe.augment, rng)
    return _batch(crops, columns, poses, present, transform, flipped, recipe.network.keypoint_set)


def cut(transform: CropTransform, images: Sequence[tuple[Pictures, str]], antialias: bool) -> Image:
    """One crop out of each picture, uint8 [B, H, W, 3].

    A picture that the crop shrinks is decoded at a fraction of its size, unless ``antialias`` is off: averaging is what
    decoding at a half, a quarter or an eighth does.
    """
    crops = np.empty((len(images), *transform.input_size, 3), np.uint8)
    for i, (matrix, scale, (pictures, name)) in enumerate(
        zip(transform.image_to_crop, transform.scale, images, strict=True)
    ):
        image, shrink = pictures.read(name, _shrink(scale) if antialias else 1)
        # Pixel i of the small picture is centred on shrink * i + (shrink - 1) / 2 of the large one.
        offset = matrix[:, 2] + matrix[:, :2].sum(1) * ((shrink - 1) / 2)
        small = np.concatenate([matrix[:, :2] * shrink, offset[:, None]], 1)
        crops[i] = CropTransform(small[None], transform.input_size).crop(image, antialias)[0]
    return crops


def _shrink(scale: float) -> int:
    """The largest of 1, 2, 4 and 8 that leaves at least a pixel of the picture for each of the crop."""
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or factor * scale <= 1)


def _batch(
    crops: Image, columns: Columns, poses: Float64, present: Bool, transform: CropTransform, flipped: Bool,
    joints: KeypointSet,
) -> Batch:  # fmt: skip
    """Crop pixels, left and right exchanged where flipped, the network's joints."""
    # Where each of the network's joints stands in the union, mirrored or not; -1 for those that nobody labels.
    order = joints.map_from(UNION_19)
    both = np.stack([order, np.where(order >= 0, UNION_19.flip_index[order], -1)])[flipped.astype(int)]
    rows = np.arange(len(both))[:, None]
    known = both >= 0
    inputs, targets = (transform.to_crop(points)[rows, both] for points in (poses, columns.keypoints))
    area = columns.area * AREA_OF_BOX * transform.scale**2
    arrays = (crops, inputs, present[rows, both] & known, targets, columns.labelled[rows, both] & known)
    return Batch(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (*arrays, area.astype(np.float32))))

"""People -> training batches: synthetic input poses, crops as at test time, augmentation; seeded by step."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from posefix_track.crops import CropTransform, crop_transform, keypoint_boxes
from posefix_track.keypoints import UNION_19
from posefix_track.synthesis import ErrorModel, People, SynthesisRules, synthesise
from trainer.datasets import Dataset, Person
from trainer.pose_refiner_synthesis import transform_poses
from trainer.recipe import AugmentConfig, Recipe, SynthesisConfig

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]

# COCO's people cover about 0.53 of their boxes; OKS is defined on the covered area.
AREA_SHARE = 0.53
_ARMS = [UNION_19.index[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")]
_LEGS = [UNION_19.index[f"{side}_{part}"] for side in ("left", "right") for part in ("hip", "knee", "ankle")]
_HEAD = [UNION_19.index["head_bottom"], UNION_19.index["head_top"]]


@dataclass(frozen=True)
class Batch:
    """B samples.

    Attributes:
        images: uint8 [B, H, W, 3] BGR crops.
        keypoints, present: input pose, float32 [B, 19, 2] crop pixels and bool [B, 19].
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
    """Batch number ``step`` of a run; the same for the same recipe, data and step."""

    def __init__(self, datasets: list[Dataset], recipe: Recipe, error_model: ErrorModel | None = None) -> None:
        self.datasets, self.recipe, self.error_model = datasets, recipe, error_model
        weights = np.array([d.weight for d in datasets], np.float64)
        self.shares = weights / weights.sum()

    def __len__(self) -> int:
        return self.recipe.train.steps

    def __getitem__(self, step: int) -> Batch:
        # OpenCV would start threads of its own in every loader worker.
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.recipe.train.seed, step])
        chosen = rng.choice(len(self.datasets), self.recipe.train.batch_size, p=self.shares)
        drawn = [(self.datasets[d], self._draw(self.datasets[d], rng)) for d in chosen]
        people = [person for _, person in drawn]
        poses, present = input_poses(people, self.recipe.synthesis, rng, self.error_model)
        images = [dataset.images.read(person.image) for dataset, person in drawn]
        return make_batch(people, images, poses, present, self.recipe, rng)

    @staticmethod
    def _draw(dataset: Dataset, rng: np.random.Generator) -> Person:
        return dataset.people[int(rng.integers(len(dataset.people)))]


def input_poses(
    people: list[Person], config: SynthesisConfig, rng: np.random.Generator, error_model: ErrorModel | None = None
) -> tuple[Float64, Bool]:
    """Erroneous input poses [B, 19, 2] and which joints they have [B, 19], in image pixels."""
    stacked, known = _stacked(people)
    if error_model is not None:
        # Its similarities were measured by the area of OKS, the published distances go by the box.
        stacked = replace(stacked, area=stacked.area * AREA_SHARE)
    poses, present = _synthetic(stacked, known, config, rng, error_model)
    real = (rng.random(len(people)) < config.estimate_share) & np.array([p.estimated.any() for p in people])
    for i in np.flatnonzero(real):
        poses[i], present[i] = people[i].estimate, people[i].estimated
    _invert(poses, config.inversion, ~real, rng)
    rates = None if error_model is None else error_model.absent[error_model.band(stacked.labelled.sum(1))]
    present &= ~_absent(present.shape, config, rng, rates)
    empty = ~present.any(1)
    present[empty] = known[empty]
    return poses, present


def _synthetic(
    people: People, known: Bool, config: SynthesisConfig, rng: np.random.Generator, error_model: ErrorModel | None
) -> tuple[Float64, Bool]:
    """Poses by the recipe's method, and which joints it leaves."""
    if config.method == "pose_refiner":
        poses, kept = transform_poses(people, UNION_19, rng)
        return poses, known & kept
    rules = SynthesisRules(config.corrupted_partners, config.first_swapped_partner_repels, config.paper_radii)
    poses, _ = synthesise(people, UNION_19, rng, rules=rules, error_model=error_model)
    return poses, known.copy()


def _stacked(people: list[Person]) -> tuple[People, Bool]:
    """Columns for synthesis, and which joints have a base position (labelled, or estimated by the other estimator)."""
    most = max(len(p.near) for p in people)
    near, near_labelled = np.zeros((len(people), most, 19, 2)), np.zeros((len(people), most, 19), bool)
    for i, person in enumerate(people):
        near[i, : len(person.near)], near_labelled[i, : len(person.near)] = person.near, person.near_labelled
    labelled = np.stack([p.labelled for p in people])
    estimated = np.stack([p.estimated for p in people])
    base = np.where(
        labelled[..., None], np.stack([p.keypoints for p in people]), np.stack([p.estimate for p in people])
    )
    area = np.array([p.area for p in people])
    return People(base, labelled, near, near_labelled, area), labelled | estimated


def _invert(poses: Float64, probability: float, allowed: Bool, rng: np.random.Generator) -> None:
    """Exchange whole arms, legs or both left and right, in place: estimators take backs for fronts."""
    for i in np.flatnonzero(allowed & (rng.random(len(poses)) < probability)):
        joints = (_ARMS, _LEGS, _ARMS + _LEGS)[rng.integers(3)]
        poses[i, joints] = poses[i, UNION_19.flip_index[joints]]


def _absent(shape: tuple[int, ...], config: SynthesisConfig, rng: np.random.Generator, rates: Float64 | None) -> Bool:
    absent = rng.random(shape) < (config.absent if rates is None else rates)
    for limb in (_ARMS[:3], _ARMS[3:], _LEGS[:3], _LEGS[3:]) if rates is None else ():
        absent[:, limb[1:]] |= rng.random((shape[0], 1)) < config.absent / 5
    absent[:, _HEAD] |= rng.random((shape[0], 1)) < config.absent_head
    return absent


def make_batch(
    people: list[Person], images: list[Image], poses: Float64, present: Bool, recipe: Recipe, rng: np.random.Generator
) -> Batch:
    """Crop as at test time (the box follows the input pose), with augmentation."""
    transform = _augmented_transform(poses, present, recipe, rng)
    one = [CropTransform(matrix[None], transform.input_size) for matrix in transform.image_to_crop]
    crops = np.concatenate([t.crop(image, recipe.network.antialias) for t, image in zip(one, images, strict=True)])
    truth, labelled = np.stack([p.keypoints for p in people]), np.stack([p.labelled for p in people])
    inputs, targets = transform.to_crop(poses), transform.to_crop(truth)
    for i in np.flatnonzero(rng.random(len(people)) < 0.5):
        crops[i] = crops[i, :, ::-1].copy()
        for points in (inputs, targets):
            points[i] = points[i, UNION_19.flip_index]
            points[i, :, 0] = transform.input_size[1] - 1 - points[i, :, 0]
        present[i], labelled[i] = present[i, UNION_19.flip_index], labelled[i, UNION_19.flip_index]
    for crop in crops:
        _recolour(crop, recipe.augment, rng)
        _occlude(crop, recipe.augment, rng)
    area = np.array([p.area for p in people]) * AREA_SHARE * transform.scale**2
    columns = (crops, inputs, present, targets, labelled, area.astype(np.float32))
    return Batch(*(torch.from_numpy(np.ascontiguousarray(column)) for column in columns))


def _augmented_transform(poses: Float64, present: Bool, recipe: Recipe, rng: np.random.Generator) -> CropTransform:
    config, count = recipe.augment, len(poses)
    boxes = keypoint_boxes(poses, present)
    side = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2 + side * rng.normal(0, config.shift, (count, 2))
    factor = np.exp(np.clip(rng.normal(0, config.scale, (count, 1)), -3 * config.scale, 3 * config.scale))
    half = side * factor / 2
    limit = 2 * config.rotation_degrees
    rotation = np.clip(rng.normal(0, config.rotation_degrees, count), -limit, limit) * (rng.random(count) < 0.6)
    boxes = np.concatenate([centre - half, centre + half], 1)
    return crop_transform(boxes, recipe.network.input_size, recipe.network.padding, rotation)


def _recolour(crop: Image, config: AugmentConfig, rng: np.random.Generator) -> None:
    gain = 1 + rng.uniform(-config.colour, config.colour) + rng.uniform(-config.colour, config.colour, 3) / 3
    offset = rng.uniform(-config.colour, config.colour) * 64 + 128 * (1 - gain.mean())
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    cv2.LUT(crop, table.reshape(1, 256, 3), dst=crop)


def _occlude(crop: Image, config: AugmentConfig, rng: np.random.Generator) -> None:
    if rng.random() >= config.occlude:
        return
    size = np.array(crop.shape[:2])
    height, width = (size * rng.uniform(0.05, 0.35, 2)).astype(int)
    top, left = (rng.random(2) * (size - (height, width))).astype(int)
    crop[top : top + height, left : left + width] = rng.integers(0, 256, 3)

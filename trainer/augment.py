"""What makes every look at a training person another one: geometry, half bodies, colour, parts covered, detail lost."""

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.crops import CropTransform, crop_transform, keypoint_boxes
from posefix_track.keypoints import UNION_19
from trainer.columns import Columns
from trainer.images import Image
from trainer.people import Bool, Float64
from trainer.recipe import AugmentConfig, Recipe

Int = npt.NDArray[np.int64]

_LOWER = np.array([any(part in joint for part in ("hip", "knee", "ankle")) for joint in UNION_19.joints])
# Least and largest share of a crop's sides that a painted rectangle and a part of another crop take, and how much
# coarser pixels may become.
_OCCLUDED, _PASTED = (0.05, 0.35), (0.08, 0.35)
_COARSEST = 3.0
# Simple Baselines' rule: so many labelled joints are a whole person, and fewer than three no half of one.
_WHOLE, _HALF = 8, 3


def pose_transform(poses: Float64, present: Bool, recipe: Recipe, rng: np.random.Generator) -> CropTransform:
    """Crops round the input poses [B, 19, 2], as at test time, augmented."""
    return _augmented(keypoint_boxes(poses, present), recipe.network.padding, recipe, rng)


def annotation_transform(columns: Columns, recipe: Recipe, rng: np.random.Generator) -> CropTransform:
    """Crops round the annotated boxes, as the original trains, augmented."""
    return _augmented(columns.bbox_xyxy, recipe.augment.annotation_padding, recipe, rng)


def mirrored(transform: CropTransform, which: Bool) -> CropTransform:
    """The crops ``which`` [B] seen in a mirror: x -> width - 1 - x."""
    matrices = transform.image_to_crop.copy()
    matrices[which, 0] *= -1
    matrices[which, 0, 2] += transform.input_size[1] - 1
    return CropTransform(matrices, transform.input_size)


def half_bodies(present: Bool, labelled: Bool, probability: float, rng: np.random.Generator) -> Bool:
    """Of the joints ``present`` [B, 19], those that are left when some people show one half of their body only."""
    wanted = (rng.random(len(present)) < probability) & (labelled.sum(1) >= _WHOLE)
    upper = rng.random((len(present), 1)) < 0.5
    half = present & (_LOWER ^ upper)
    halved = wanted & (half.sum(1) >= _HALF)
    return np.where(halved[:, None], half, present)


def recolour(crop: Image, config: AugmentConfig, rng: np.random.Generator) -> None:
    """Change brightness, contrast and the balance of the channels, in place."""
    if not config.colour:
        return
    gain = 1 + rng.uniform(-config.colour, config.colour) + rng.uniform(-config.colour, config.colour, 3) / 3
    offset = rng.uniform(-config.colour, config.colour) * 64 + 128 * (1 - gain.mean())
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    cv2.LUT(crop, table.reshape(1, 256, 3), dst=crop)


def occlude(crop: Image, config: AugmentConfig, rng: np.random.Generator) -> None:
    """Perhaps paint a rectangle over it, in place."""
    if rng.random() >= config.occlude:
        return
    size = np.array(crop.shape[:2])
    part = _somewhere(size, (size * rng.uniform(*_OCCLUDED, 2)).astype(int), rng)
    crop[part] = rng.integers(0, 256, 3)


def paste(crops: Image, config: AugmentConfig, rng: np.random.Generator) -> None:
    """Perhaps cover a part of each crop [B, H, W, 3] with one of the crop before it, in place."""
    if not config.paste:
        return
    size, whole = np.array(crops.shape[1:3]), crops.copy()
    for i in np.flatnonzero(rng.random(len(crops)) < config.paste):
        sides = (size * rng.uniform(*_PASTED, 2)).astype(int)
        here, there = _somewhere(size, sides, rng), _somewhere(size, sides, rng)
        crops[i][here] = whole[i - 1][there]


def _somewhere(size: Int, sides: Int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A rectangle of these sides anywhere within ``size``; all (height, width)."""
    (top, left), (height, width) = (rng.random(2) * (size - sides)).astype(int), sides
    return slice(top, top + height), slice(left, left + width)


def coarsen(crop: Image, config: AugmentConfig, rng: np.random.Generator) -> None:
    """Perhaps lose detail, as small and blurred people have less, in place."""
    if not config.coarsen or rng.random() >= config.coarsen:
        return
    height, width = crop.shape[:2]
    factor = _COARSEST ** rng.random()
    small = cv2.resize(crop, (int(width / factor), int(height / factor)), interpolation=cv2.INTER_AREA)
    crop[:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _augmented(boxes: Float64, padding: float, recipe: Recipe, rng: np.random.Generator) -> CropTransform:
    config, network, count = recipe.augment, recipe.network, len(boxes)
    side = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2 + side * rng.normal(0, config.shift, (count, 2))
    half = side * _scale_factor(config, count, rng) / 2
    limit = 2 * config.rotation_degrees
    rotation = np.clip(rng.normal(0, config.rotation_degrees, count), -limit, limit) * (rng.random(count) < 0.6)
    boxes = np.concatenate([centre - half, centre + half], 1)
    return crop_transform(boxes, network.input_size, padding, rotation, network.centred_crops)


def _scale_factor(config: AugmentConfig, count: int, rng: np.random.Generator) -> Float64:
    drawn = rng.normal(0, config.scale, (count, 1))
    if config.linear_scale:
        return np.asarray(1 + np.clip(drawn, -config.scale, config.scale))
    return np.asarray(np.exp(np.clip(drawn, -3 * config.scale, 3 * config.scale)))

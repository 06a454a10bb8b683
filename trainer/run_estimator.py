"""`python -m trainer.run_estimator MODEL.onnx --annotations A.json --images DIR|TAR ... -o poses.json`.

Runs a top-down pose estimator on annotated people, so that the refiner trains on real errors. The same person looks
different in every variant (shifted, scaled, rotated, mirrored, recoloured, partly covered box), and so the estimator
errs differently: a network that meets one pose per person over and over learns it by heart.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import orjson

from posefix_track.crops import CropTransform, crop_transform
from posefix_track.errors import InputError
from posefix_track.formats.atomic import write_file
from posefix_track.keypoints import COCO_17
from trainer.augment import mirrored, occlude, recolour
from trainer.coco_data import read_coco
from trainer.command import run
from trainer.images import Image, Images
from trainer.json_files import read_json
from trainer.people import Annotated, Float64
from trainer.recipe import AugmentConfig

_log = logging.getLogger(__name__)

# What ImageNet networks are trained on, for values 0 to 255.
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_PADDING = 1.25
_LOOKS = AugmentConfig(scale=0.12, rotation_degrees=20.0, shift=0.05, colour=0.25, occlude=0.25)


@dataclass(frozen=True)
class Estimator:
    """A network from crops float32 [1, 3, H, W] (RGB, ImageNet's mean and deviation) to heatmaps [1, 17, H/4, W/4]."""

    compiled: Any
    input_size: tuple[int, int]

    @classmethod
    def load(cls, path: Path) -> "Estimator":
        """Read an ONNX file. Raises InputError for one that is not such a network."""
        import openvino

        try:
            compiled = openvino.Core().compile_model(str(path), "CPU")
            _, channels, height, width = compiled.input(0).shape
            joints = compiled.output(0).shape[1]
        except (RuntimeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: not an ONNX network with one picture as input: {error}") from error
        if (channels, joints) != (3, len(COCO_17)):
            raise InputError(f"{path}: expected 3 channels in and 17 heatmaps out, got {channels} and {joints}")
        return cls(compiled, (height, width))

    def __call__(self, crop: Image) -> tuple[Float64, Float64]:
        """COCO-17 positions [17, 2] in pixels of a BGR crop, and their scores [17]."""
        normalised = ((crop[..., ::-1] - _MEAN) / _STD).transpose(2, 0, 1)[None]
        return peaks(self.compiled(normalised)[0][0])


def peaks(heatmaps: npt.NDArray[np.float32]) -> tuple[Float64, Float64]:
    """Maxima of [K, h, w], a quarter of a cell towards the larger neighbour, in pixels [K, 2], and their values [K]."""
    joints, _, width = heatmaps.shape
    best = heatmaps.reshape(joints, -1).argmax(1)
    row, column, joint = best // width, best % width, np.arange(joints)
    wide = np.pad(heatmaps, ((0, 0), (1, 1), (1, 1)), mode="edge")
    x = np.sign(wide[joint, row + 1, column + 2] - wide[joint, row + 1, column])
    y = np.sign(wide[joint, row + 2, column + 1] - wide[joint, row, column + 1])
    cells = np.stack([column + 0.25 * x, row + 0.25 * y], 1)
    return cells.astype(np.float64) * 4, heatmaps[joint, row, column].astype(np.float64)


def estimate(
    estimator: Estimator, annotations: Path, sources: list[Path], variants: int, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """COCO results with ``ann_id`` of all people to train on: the plain box first, then ``variants - 1`` others."""
    images, rng = Images(sources), np.random.default_rng(seed)
    pictures, _ = read_coco(read_json(annotations), str(annotations))
    for picture in pictures:
        people = [one for one in picture.people if one.is_target and not one.problem]
        if not people or picture.name not in images:
            continue
        image, _ = images.read(picture.name)
        for person in people:
            for variant in range(variants):
                triplets = _pose(estimator, image, person, rng if variant else None)
                row = {"image_id": picture.id, "category_id": 1, "ann_id": person.id}
                yield row | {"keypoints": triplets.ravel().round(3).tolist(), "score": float(triplets[:, 2].mean())}


def _pose(estimator: Estimator, image: Image, person: Annotated, rng: np.random.Generator | None) -> Float64:
    """[17, 3] (x, y, score) in image pixels; the box as it is without ``rng``."""
    transform, flipped = _view(person.bbox_xyxy, estimator.input_size, rng)
    crop = transform.crop(image)[0]
    if rng is not None:
        recolour(crop, _LOOKS, rng)
        occlude(crop, _LOOKS, rng)
    keypoints, scores = estimator(crop)
    triplets = np.concatenate([transform.to_image(keypoints[None])[0], scores[:, None]], 1)
    return triplets[COCO_17.flip_index] if flipped else triplets


def _view(
    bbox_xyxy: Float64, input_size: tuple[int, int], rng: np.random.Generator | None
) -> tuple[CropTransform, bool]:
    box = bbox_xyxy[None]
    if rng is None:
        return crop_transform(box, input_size, _PADDING, centred=False), False
    side = box[:, 2:] - box[:, :2]
    centre = (box[:, 2:] + box[:, :2]) / 2 + side * rng.normal(0, _LOOKS.shift, (1, 2))
    half = side / 2 * np.exp(np.clip(rng.normal(0, _LOOKS.scale), -0.3, 0.3))
    rotation = float(np.clip(rng.normal(0, _LOOKS.rotation_degrees), -45, 45)) * (rng.random() < 0.5)
    seen = np.concatenate([centre - half, centre + half], 1)
    # The geometry that these estimators were trained with.
    transform = crop_transform(seen, input_size, _PADDING, rotation, centred=False)
    flipped = bool(rng.random() < 0.5)
    return mirrored(transform, np.array([flipped])), flipped


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, run, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer.run_estimator", description=__doc__)
    parser.add_argument("model", type=Path, help="ONNX file: RGB crop with ImageNet's normalisation to 17 heatmaps")
    parser.add_argument("--annotations", type=Path, required=True, help="people in COCO layout")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders or tar shards")
    parser.add_argument("--variants", type=int, default=6, help="poses per person (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="COCO results with ann_id to write")
    cv2.setNumThreads(1)
    return run(_estimate, parser.parse_args(arguments))


def _estimate(parsed: argparse.Namespace) -> None:
    found = estimate(Estimator.load(parsed.model), parsed.annotations, parsed.images, parsed.variants, parsed.seed)
    rows = list(found)
    write_file(parsed.output, orjson.dumps(rows))
    _log.info("%s: %d poses", parsed.output, len(rows))


if __name__ == "__main__":
    sys.exit(main())

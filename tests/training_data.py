"""A tiny training set in COCO layout: pictures in a folder and in a tar shard, annotations, estimated poses."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posefix_track.keypoints import COCO_17
from posefix_track.network import NetworkConfig
from trainer.people import Person
from trainer.recipe import AugmentConfig, DataConfig, Recipe, RenderedConfig, SynthesisConfig, TrainConfig

PICTURES = 6
NO_AUGMENTATION = AugmentConfig(scale=0, rotation_degrees=0, shift=0, colour=0, occlude=0)
NO_GAPS = SynthesisConfig(inversion=0, absent=0, absent_head=0)
TRUTH = replace(NO_GAPS, estimate_share=1.0)  # for people whose estimate is the truth


def recipe(**changes: Any) -> Recipe:
    """A run of four steps on the set, with a network that takes milliseconds."""
    parts: dict[str, Any] = {
        "network": NetworkConfig(input_size=(64, 32), head_channels=(16, 16, 16)),
        "data": (DataConfig("people.json", ("pictures", "shard.tar"), 1.0, "estimates.json"),),
        "train": TrainConfig(steps=4, batch_size=3, warmup_steps=1, bfloat16=False, checkpoint_steps=2),
        "synthesis": SynthesisConfig(estimate_share=0.3),
        "augment": AugmentConfig(),
        "rendered": RenderedConfig(),
    }
    return Recipe(**(parts | changes))


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    """Person ``number`` on picture ``number``; every third joint is not labelled."""
    rng = np.random.default_rng(number)
    keypoints = np.concatenate([rng.uniform((20, 10), (60, 110), (17, 2)), np.full((17, 1), 2)], 1)
    keypoints[2::3] = 0
    entry = {"id": 100 + number, "image_id": number, "category_id": 1, "keypoints": keypoints.ravel().tolist()}
    return entry | {"bbox": [15, 5, 50, 110], "area": 3000, "iscrowd": 0} | changes


def write_training_data(root: Path, annotations: list[dict[str, Any]] | None = None) -> None:
    """Write people.json, estimates.json, the folder pictures (even numbers) and shard.tar (odd ones) into ``root``."""
    (root / "pictures").mkdir()
    with tarfile.open(root / "shard.tar", "w") as shard:
        for number in range(PICTURES):
            data = _picture(number)
            if number % 2 == 0:
                (root / "pictures" / f"{number}.png").write_bytes(data)
            else:
                member = tarfile.TarInfo(f"some/folder/{number}.png")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    people = [annotation(number) for number in range(PICTURES)] if annotations is None else annotations
    images = [{"id": number, "file_name": f"{number}.png", "width": 80, "height": 120} for number in range(PICTURES)]
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO_17.joints)}]
    (root / "people.json").write_text(json.dumps({"images": images, "annotations": people, "categories": categories}))
    estimates = [
        {"ann_id": 100 + n, "keypoints": np.full((17, 3), 40.0).ravel().tolist()} for n in range(0, PICTURES, 2)
    ]
    (root / "estimates.json").write_text(json.dumps(estimates))


def _picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (120, 80, 3)).astype(np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def person(keypoints: np.ndarray, labelled: np.ndarray | None = None) -> Person:
    """A person on picture "0" whose other estimator found nothing."""
    labelled = np.ones(19, bool) if labelled is None else labelled
    nothing = np.zeros((0, 19, 2)), np.zeros((0, 19), bool)
    return Person("0", keypoints, labelled, *nothing, *nothing, np.concatenate([keypoints.min(0), keypoints.max(0)]))


class Still:
    """The same picture under every name."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image

    def read(self, name: str, shrink: int = 1) -> tuple[np.ndarray, int]:
        return self.image, 1


def dotted(labelled: np.ndarray | None = None) -> tuple[Person, Still]:
    """A person whose joints are white dots on black, at least 9 pixels apart, and whose estimate is the truth."""
    rng = np.random.default_rng(3)
    cells = rng.permutation(6 * 9)[:19]
    keypoints = np.stack([40 + 16.0 * (cells % 6), 40 + 16.0 * (cells // 6)], -1)
    image = np.zeros((240, 180, 3), np.uint8)
    for x, y in keypoints.astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    one = person(keypoints, labelled)
    return replace(one, estimates=keypoints[None], estimated=one.labelled[None]), Still(image)

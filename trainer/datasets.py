"""Annotations in COCO layout -> people in union-19 joints, with their near persons and another estimator's pose."""

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.keypoints import COCO_17, UNION_19, KeypointSet
from trainer.recipe import DataConfig

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

# Box overlap from which another person counts as near (released code of PoseFix).
_NEAR_IOU = 0.1


@dataclass(frozen=True)
class Person:
    """One training person, in image pixels.

    Attributes:
        image: name within the data set's images.
        keypoints: float64 [19, 2]; labelled: bool [19].
        near: float64 [M, 19, 2], joints of overlapping people; near_labelled: bool [M, 19].
        estimate: float64 [19, 2] of another estimator, estimated: bool [19], which joints it has.
        area: of the tight box, square pixels.
    """

    image: str
    keypoints: Float64
    labelled: Bool
    near: Float64
    near_labelled: Bool
    estimate: Float64
    estimated: Bool
    area: float


class Pictures(Protocol):
    """Pictures by name."""

    def read(self, name: str) -> npt.NDArray[np.uint8]:
        """The picture as uint8 BGR [H, W, 3]."""
        ...


class Images:
    """JPEG bytes from a folder or from tar shards, by file name."""

    def __init__(self, sources: Iterable[Path]) -> None:
        self._folders = []
        self._members: dict[str, bytes] = {}
        for source in sources:
            if source.is_dir():
                self._folders.append(source)
            else:
                self._read_shard(source)

    def _read_shard(self, shard: Path) -> None:
        try:
            with tarfile.open(shard) as archive:
                for member in archive:
                    data = archive.extractfile(member)
                    if data is not None:
                        self._members[Path(member.name).name] = data.read()
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{shard}: not a readable tar shard: {error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._members or any((folder / name).is_file() for folder in self._folders)

    def read(self, name: str) -> npt.NDArray[np.uint8]:
        """The image as uint8 BGR [H, W, 3]. Raises InputError naming a file that is missing or does not decode."""
        data = self._members.get(name)
        if data is None:
            path = next((folder / name for folder in self._folders if (folder / name).is_file()), None)
            if path is None:
                raise InputError(f"{name}: no such image in the data set")
            data = path.read_bytes()
        pixels = np.frombuffer(data, np.uint8)
        image = cv2.imdecode(pixels, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data else None
        if image is None:
            raise InputError(f"{name}: does not decode as an image")
        return image.astype(np.uint8, copy=False)


@dataclass(frozen=True)
class Dataset:
    """People and where their pictures are."""

    people: list[Person]
    images: Pictures
    weight: float
    skipped: int


def load_dataset(config: DataConfig, root: Path) -> Dataset:
    """Read one data set. People whose image is missing or whose annotation is unusable are skipped and counted."""
    path = root / config.annotations
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable annotation file: {error}") from error
    images = Images(root / name for name in config.images)
    estimates = _read_estimates(root / config.estimates) if config.estimates else {}
    try:
        source = KeypointSet("annotations", tuple(content["categories"][0]["keypoints"]))
        if (UNION_19.map_from(source) >= 0).sum() < 6:
            raise InputError(f"{path}: fewer than six known joints among {source.joints}")
        people, skipped = _people(content, source, estimates, images)
    except (IndexError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not annotations in COCO layout: {error!r}") from error
    if not people:
        raise InputError(f"{path}: nobody to train on; {skipped} people were skipped, see if their images are there")
    return Dataset(people, images, config.weight, skipped)


def _people(
    content: dict[str, Any], source: KeypointSet, estimates: dict[int, Float64], images: Images
) -> tuple[list[Person], int]:
    by_image = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    people, skipped = [], 0
    for image in content["images"]:
        name = Path(image["file_name"]).name
        read = [_annotated(a, source) for a in by_image[image["id"]]]
        group = [one for one in read if one is not None]
        targets = [one for one in group if one.is_target]
        good = [one for one in targets if one.usable and name in images]
        skipped += len(read) - len(group) + len(targets) - len(good)
        people += [_person(name, one, group, estimates.get(one.id)) for one in good]
    return people, skipped


def _annotated(annotation: dict[str, Any], source: KeypointSet) -> "_Annotated | None":
    """None for an annotation that lacks a field or joints."""
    try:
        return _Annotated(annotation, source)
    except (IndexError, KeyError, TypeError, ValueError):
        return None


class _Annotated:
    """One annotation as union-19 columns."""

    def __init__(self, annotation: dict[str, Any], source: KeypointSet) -> None:
        self.id = int(annotation["id"])
        self.is_target = annotation.get("target", 1) == 1 and not annotation.get("iscrowd", 0)
        triplets = np.asarray(annotation["keypoints"], np.float64).reshape(len(source), 3)
        self.keypoints, self.labelled = to_union(triplets, source)
        x, y, width, height = annotation["bbox"]
        self.box = np.array([x, y, x + width, y + height], np.float64)
        self.area = float(width * height)

    @property
    def usable(self) -> bool:
        numbers = np.isfinite(self.box).all() and np.isfinite(self.keypoints).all()
        return bool(numbers and self.area > 0 and self.labelled.any())


def to_union(triplets: Float64, source: KeypointSet) -> tuple[Float64, Bool]:
    """[K, 3] (x, y, v) of ``source`` -> union-19 positions [19, 2] and which of them are labelled [19]."""
    order = UNION_19.map_from(source)
    labelled = (order >= 0) & (triplets[order, 2] > 0)
    return np.where(labelled[:, None], triplets[order, :2], 0.0), labelled


def _person(name: str, one: _Annotated, group: list[_Annotated], estimate: Float64 | None) -> Person:
    others = [o for o in group if o is not one and o.usable and _box_iou(o.box, one.box) >= _NEAR_IOU]
    none = np.zeros((0, 19))
    guessed, has = (np.zeros((19, 2)), np.zeros(19, bool)) if estimate is None else to_union(estimate, COCO_17)
    return Person(
        image=name,
        keypoints=one.keypoints,
        labelled=one.labelled,
        near=np.stack([o.keypoints for o in others]) if others else np.zeros((0, 19, 2)),
        near_labelled=np.stack([o.labelled for o in others]) if others else none.astype(bool),
        estimate=guessed,
        estimated=has,
        area=one.area,
    )


def _box_iou(a: Float64, b: Float64) -> float:
    overlap = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap
    return float(overlap / (union + 1e-5))


def _read_estimates(path: Path) -> dict[int, Float64]:
    try:
        rows = json.loads(path.read_text())
        return {int(row["ann_id"]): np.asarray(row["keypoints"], np.float64).reshape(17, 3) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not COCO results with ann_id of 17 joints: {error}") from error

"""Judges weights while they are trained, by an estimator's poses of pictures that are not trained on."""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from posefix_track.error_classes import ERROR_CLASSES, GOOD, Codes
from posefix_track.errors import InputError
from posefix_track.keypoints import UNION_19, KeypointSet, keypoint_set
from posefix_track.network import PoseFix
from posefix_track.oks import AREA_OF_BOX, Bool, Float64
from posefix_track.refiner import PoseRefiner
from posefix_track.weights import Weights
from trainer.average_precision import Found, Truth, average_precision
from trainer.error_counts import Group, Pose, classified, of_people, read_groups, read_tracker
from trainer.images import Images
from trainer.json_files import read_json
from trainer.people import to_union
from trainer.recipe import ValidationConfig

Scores = dict[str, float]
Float32 = npt.NDArray[np.float32]
# COCO results by image.
Rows = dict[Hashable, list[dict[str, Any]]]


class NetworkEngine:
    """The network as it is, as an engine."""

    name = "the network in training"
    max_batch = 64

    def __init__(self, network: PoseFix) -> None:
        self._network = network
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float32, present: npt.NDArray[np.bool_]
    ) -> tuple[Float32, Float32]:
        """Crops, poses and presence -> refined poses and expected similarity."""
        columns = (images, keypoints, present)
        tensors = [torch.from_numpy(np.ascontiguousarray(column)).to(self._device) for column in columns]
        refined, expected_ks = self._network(*tensors)
        return refined.cpu().numpy(), expected_ks.cpu().numpy()


@dataclass(frozen=True)
class Validation:
    """Annotated pictures and an estimator's poses of them.

    Attributes:
        images: pictures; names: of each image id.
        joints: of the poses.
        groups: annotated people by image; truth: the same for average precision.
        rows: the estimator's results by image.
    """

    images: Images
    names: dict[Hashable, str]
    joints: KeypointSet
    groups: dict[Hashable, Group]
    truth: dict[Hashable, Truth]
    rows: Rows

    def scores(self, network: PoseFix) -> Scores:
        """How good the poses are before and after refining, flip test and gate on, all in [0, 1].

        ``ap``, ``ap50``, ``ap75`` (COCO), the share of each error status among annotated joints that have a position
        (``good``, ``jitter`` ...), each with ``_before`` too; ``harmed``, the share of good joints that are good no
        more, and ``mended``, the share of the others that are good now.
        """
        training = network.training
        network.eval()
        refined = self._refined(network)
        network.train(training)
        before, after = self._precision(self.rows), self._precision(refined)
        return {f"{name}_before": value for name, value in before.items()} | after | self._errors(refined)

    def _refined(self, network: PoseFix) -> Rows:
        refiner = PoseRefiner(Weights(network, {}, ""), keypoints=self.joints, engine=NetworkEngine(network))
        poses = [_triplets(rows).astype(np.float32) for rows in self.rows.values()]
        frames = (
            (self.images.read(self.names[i])[0], p[..., :2], p[..., 2]) for i, p in zip(self.rows, poses, strict=True)
        )
        for triplets, better in zip(poses, refiner.stream(frames), strict=True):
            triplets[..., :2] = better.keypoints
        return {
            image: [{**row, "keypoints": pose.ravel().tolist()} for row, pose in zip(rows, triplets, strict=True)]
            for (image, rows), triplets in zip(self.rows.items(), poses, strict=True)
        }

    def _precision(self, rows: Rows) -> Scores:
        """Of the joints that both sides have; absent ones count where they are said to lie, as COCO does it."""
        order = UNION_19.map_from(self.joints)
        found = {
            image: Found(_triplets(group)[:, order[order >= 0], :2], np.array([float(row["score"]) for row in group]))
            for image, group in rows.items()
        }
        return average_precision(self.truth, found, UNION_19.sigmas[order >= 0])

    def _errors(self, refined: Rows) -> Scores:
        sides = [self._codes(group, image, refined) for image, group in self.groups.items()]
        if not any(len(before) for before, _ in sides):
            raise InputError("none of the validation's poses belongs to an annotated person; compare their image ids")
        before, after = (np.concatenate(column) for column in zip(*sides, strict=True))
        shares = {name: float((after == i).mean()) for i, name in enumerate(ERROR_CLASSES)}
        shares_before = {f"{name}_before": float((before == i).mean()) for i, name in enumerate(ERROR_CLASSES)}
        good = before == GOOD
        changed = {"harmed": float((after != GOOD)[good].mean()), "mended": float((after == GOOD)[~good].mean())}
        return shares_before | shares | changed

    def _codes(self, group: Group, image: Hashable, refined: Rows) -> tuple[Codes, Codes]:
        """Errors before and after of the labelled joints that the poses of matched people have."""
        old, new = (self._poses(rows.get(image, [])) for rows in (self.rows, refined))
        matched = of_people(group, old)
        joints = group.labelled[matched.rows] & matched.present
        later = np.array([new[i].keypoints for i in matched.found]).reshape(matched.keypoints.shape)
        before, after = (classified(group, matched.rows, side).codes[joints] for side in (matched.keypoints, later))
        return before, after

    def _poses(self, rows: list[dict[str, Any]]) -> list[Pose]:
        return [pose for group in read_tracker(rows, self.joints, "poses").values() for pose in group]


def load_validation(config: ValidationConfig, root: Path) -> Validation | None:
    """Read what to validate by; None where the recipe has nothing. Raises InputError naming a file or a picture."""
    if not config.annotations:
        return None
    path, joints = root / config.annotations, keypoint_set(config.pose_keypoints)
    content = read_json(path)
    source, groups = read_groups(content, str(path))
    images = Images(root / name for name in config.images)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    rows = _rows(root / config.poses, joints, names)
    missing = [names[image] for image in rows if names[image] not in images]
    if missing:
        raise InputError(f"{path}: {len(missing)} pictures are not there, such as {missing[0]}")
    common = UNION_19.map_from(joints) >= 0
    groups = {image: replace(group, labelled=group.labelled & common) for image, group in groups.items()}
    return Validation(images, names, joints, groups, _truth(content, source, common), rows)


def _rows(path: Path, joints: KeypointSet, names: dict[Hashable, str]) -> Rows:
    """The results on annotated pictures. Raises InputError naming the file."""
    results = read_json(path)
    # It checks what is read below.
    read_tracker(results, joints, str(path))
    rows: Rows = defaultdict(list)
    for row in results if isinstance(results, list) else results["annotations"]:
        if row["image_id"] in names:
            rows[row["image_id"]].append({"score": 1.0, **row})
    return dict(rows)


def _triplets(rows: list[dict[str, Any]]) -> Float64:
    """[D, K, 3]."""
    return np.array([row["keypoints"] for row in rows], np.float64).reshape(len(rows), -1, 3)


def _truth(content: dict[str, Any], source: KeypointSet, common: Bool) -> dict[Hashable, Truth]:
    """By image, also those without people: poses there are wrong. Joints that the poses cannot have are left out."""
    by_image: Rows = {image["id"]: [] for image in content["images"]}
    for row in content["annotations"]:
        by_image[row["image_id"]].append(row)
    return {image: _people(rows, source, common) for image, rows in by_image.items()}


def _people(rows: list[dict[str, Any]], source: KeypointSet, common: Bool) -> Truth:
    read = [to_union(np.asarray(row["keypoints"], np.float64).reshape(-1, 3), source) for row in rows]
    count = int(common.sum())
    return Truth(
        keypoints=np.array([points[common] for points, _ in read], np.float64).reshape(-1, count, 2),
        labelled=np.array([labelled[common] for _, labelled in read], bool).reshape(-1, count),
        bbox_xyxy=_corners(rows),
        area=np.array([row.get("area") or AREA_OF_BOX * row["bbox"][2] * row["bbox"][3] for row in rows], np.float64),
        crowd=np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
    )


def _corners(rows: list[dict[str, Any]]) -> Float64:
    """[G, 4]."""
    low, size = np.split(np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4), 2, axis=1)
    return np.concatenate([low, low + size], 1)

"""Other estimators' poses of the people of a data set: realistic inputs, and positions for joints nobody labelled."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.box_overlap import box_iou
from posefix_track.crops import keypoint_boxes
from posefix_track.errors import InputError
from posefix_track.keypoints import KeypointSet
from trainer.json_files import read_json
from trainer.people import Float64, Picture, Pose, to_union

# A pose without ann_id belongs to the person whose box it overlaps most, and by this much at least.
_LEAST_IOU = 0.3


def read_estimates(
    paths: Iterable[Path], source: KeypointSet, pictures: Sequence[Picture]
) -> dict[Hashable, list[Pose]]:
    """Poses by annotation id, from COCO results on the same pictures; a person may have several.

    Args:
        paths: files of rows with ``keypoints`` and either ``ann_id``, or ``image_id`` and optionally ``bbox``.
        source: joints of the rows.
        pictures: the annotated people, for rows without ``ann_id``.

    Raises:
        InputError: naming the file and the row.
    """
    poses: dict[Hashable, list[Pose]] = defaultdict(list)
    by_id = {picture.id: picture for picture in pictures}
    for path in paths:
        for i, row in enumerate(_rows(path)):
            try:
                triplets = np.asarray(row["keypoints"], np.float64).reshape(len(source), 3)
                if not np.isfinite(triplets).all():
                    raise ValueError("a number that is not finite")
                person = row["ann_id"] if "ann_id" in row else _owner(row, triplets, by_id.get(row["image_id"]))
            except (KeyError, TypeError, ValueError) as error:
                wanted = f"COCO results of {len(source)} joints ({source.name}) with ann_id or image_id"
                raise InputError(f"{path}: row {i}: expected {wanted}, got {error!r}") from error
            if person is not None:
                poses[person].append(to_union(triplets, source))
    return poses


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of COCO results, got {type(rows).__name__}")
    return rows


def _owner(row: dict[str, Any], triplets: Float64, picture: Picture | None) -> Hashable:
    """Id of the person whose box the pose's overlaps most; None for nobody's."""
    people = [one for one in picture.people if not one.problem] if picture else []
    present = triplets[:, 2] > 0
    if not people or not present.any():
        return None
    if "bbox" in row:
        x, y, width, height = row["bbox"]
        box = np.array([[x, y, x + width, y + height]], np.float64)
    else:
        box = keypoint_boxes(triplets[None, :, :2], present[None])
    overlap = box_iou(box, np.stack([one.bbox_xyxy for one in people]))[0]
    return people[int(overlap.argmax())].id if overlap.max() >= _LEAST_IOU else None

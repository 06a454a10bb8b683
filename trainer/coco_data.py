"""Annotations in COCO layout -> pictures with their people: COCO itself, and everything that was converted to it."""

from collections import Counter, defaultdict
from collections.abc import Hashable
from typing import Any

import numpy as np

from posefix_track.errors import InputError
from posefix_track.keypoints import UNION_19, KeypointSet
from trainer.people import Annotated, Picture, to_union

# Fewer joints than these cannot be a person's.
_LEAST_JOINTS = 6


def read_coco(content: dict[str, Any], where: str) -> tuple[list[Picture], Counter[str]]:
    """Pictures and their people; crowds are left out, and annotations that lack a field counted.

    ``target`` 0 marks a person who is only there to be near another (an extension of the layout).

    Raises:
        InputError: naming ``where``, for anything that is not in COCO layout or has unknown joints.
    """
    try:
        source = known_joints(content["categories"][0]["keypoints"], where)
        rows: dict[Hashable, list[dict[str, Any]]] = defaultdict(list)
        for row in content["annotations"]:
            if not row.get("iscrowd", 0):
                rows[row["image_id"]].append(row)
        read = [(image, [_annotated(row, source) for row in rows[image["id"]]]) for image in content["images"]]
        pictures = [
            Picture(image["id"], str(image["file_name"]), [one for one in people if one]) for image, people in read
        ]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise InputError(f"{where}: not annotations in COCO layout: {error!r}") from error
    return pictures, +Counter({"a missing or malformed field": sum(people.count(None) for _, people in read)})


def known_joints(names: list[str], where: str) -> KeypointSet:
    """The joints of a file's category. Raises InputError where it names fewer than six that the union has."""
    source = KeypointSet("annotations", tuple(names))
    if (UNION_19.map_from(source) >= 0).sum() < _LEAST_JOINTS:
        known = ", ".join(UNION_19.joints)
        raise InputError(f"{where}: fewer than six known joints among {source.joints}; known: {known}")
    return source


def _annotated(row: dict[str, Any], source: KeypointSet) -> Annotated | None:
    """None for an annotation that lacks a field or joints."""
    try:
        triplets = np.asarray(row["keypoints"], np.float64).reshape(len(source), 3)
        x, y, width, height = (float(number) for number in row["bbox"])
        box = np.array([x, y, x + width, y + height])
        return Annotated(row["id"], *to_union(triplets, source), box, row.get("target", 1) == 1)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None

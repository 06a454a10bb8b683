"""PoseTrack 2018 as released (a folder with one JSON file a sequence) -> pictures with their people."""

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from trainer.coco_data import read_coco
from trainer.json_files import read_json
from trainer.people import Annotated, Picture, Pose

Region = npt.NDArray[np.float32]


def read_posetrack(folder: Path) -> tuple[list[Picture], Counter[str], dict[Hashable, list[Pose]]]:
    """All labelled frames of all sequences.

    Joints within an ignore region are not supervised: nobody vouches for what is labelled there.

    Args:
        folder: of files such as ``000001_bonn_train.json``.

    Returns:
        the labelled frames; how many annotations were skipped for which reason; and, by annotation id, the same track's
        joints in the labelled frames before and after: the poses of a tracker that lags.

    Raises:
        InputError: naming the file.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder}: no JSON file; give PoseTrack 2018's folder of one file a sequence")
    pictures: list[Picture] = []
    skipped, poses = Counter[str](), defaultdict[Hashable, list[Pose]](list)
    for path in files:
        content = read_json(path)
        frames, unusable = read_coco(content, str(path))
        regions = [_ignore_regions(image, str(path)) for image in content["images"]]
        frames = [_supervised(frame, region) for frame, region in zip(frames, regions, strict=True) if frame.people]
        tracks = {row.get("id"): row.get("track_id") for row in content["annotations"]}
        for before, after in pairwise(frames):
            _add_neighbours(poses, before, after, tracks)
        pictures += frames
        skipped += unusable
    return pictures, skipped, poses


def _ignore_regions(image: dict[str, Any], where: str) -> list[Region]:
    """Outlines [V, 2]. Raises InputError naming the picture."""
    try:
        outlines = zip(image.get("ignore_regions_x", ()), image.get("ignore_regions_y", ()), strict=True)
        return [np.stack([np.asarray(x, np.float32), np.asarray(y, np.float32)], -1) for x, y in outlines]
    except (TypeError, ValueError) as error:
        name = image.get("file_name")
        raise InputError(f"{where}: {name}: expected as many x as y of each ignore region, got {error}") from error


def _supervised(frame: Picture, regions: list[Region]) -> Picture:
    return replace(frame, people=[_outside(one, regions) for one in frame.people]) if regions else frame


def _outside(one: Annotated, regions: list[Region]) -> Annotated:
    labelled = one.labelled.copy()
    for joint in np.flatnonzero(labelled):
        x, y = one.keypoints[joint].tolist()
        labelled[joint] = not any(len(r) > 2 and cv2.pointPolygonTest(r, (x, y), False) >= 0 for r in regions)
    return replace(one, keypoints=np.where(labelled[:, None], one.keypoints, 0.0), labelled=labelled)


def _add_neighbours(
    poses: dict[Hashable, list[Pose]], before: Picture, after: Picture, tracks: dict[Hashable, Hashable]
) -> None:
    """Give each track's pose of one frame to the same track in the other, in place."""
    later = {tracks.get(one.id): one for one in after.people}
    for one in before.people:
        track = tracks.get(one.id)
        other = later.get(track) if track is not None else None
        if other is not None:
            poses[one.id].append((other.keypoints, other.labelled))
            poses[other.id].append((one.keypoints, one.labelled))

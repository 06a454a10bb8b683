"""OKS-based suppression of repeated poses, as the original's result writer does it; off by default."""

from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from posefix_track.errors import UsageError
from posefix_track.formats import PoseFile
from posefix_track.keypoints import KeypointSet
from posefix_track.oks import Bool, keypoint_similarity


def without_repeated_poses(data: bytes, keypoint_set: KeypointSet, threshold: float) -> tuple[bytes, int]:
    """A COCO or PoseTrack file without its suppressed people, and how many those were.

    The file is written anew: unlike everything else this cannot keep its bytes.
    """
    content = orjson.loads(data)
    rows = content if isinstance(content, list) else content["annotations"]
    kept = _kept_rows(rows, keypoint_set, threshold)
    new = kept if isinstance(content, list) else {**content, "annotations": kept}
    return orjson.dumps(new), len(rows) - len(kept)


def check_suppressible(pose_file: PoseFile) -> None:
    """Raises UsageError for a format whose people have no score to be ranked by."""
    if pose_file.format not in ("coco", "posetrack18", "posetrack21"):
        raise UsageError(f"--oks-nms works on COCO results and PoseTrack 2018 and 21 files, not on {pose_file.format}")


def _kept_rows(rows: list[dict[str, Any]], keypoint_set: KeypointSet, threshold: float) -> list[dict[str, Any]]:
    by_image: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        by_image.setdefault(row["image_id"], []).append(i)
    keep = np.ones(len(rows), bool)
    for members in by_image.values():
        keypoints = np.array([rows[i]["keypoints"] for i in members], np.float64).reshape(len(members), -1, 3)
        scores = np.array([_score(rows[i]) for i in members])
        keep[members] = keep_distinct(keypoints[..., :2], scores, keypoint_set, threshold)
    return [row for row, kept in zip(rows, keep, strict=True) if kept]


def _score(row: dict[str, Any]) -> float:
    """The person's score; PoseTrack files have only joint scores, whose mean the original takes."""
    return float(row["score"]) if "score" in row else float(np.mean(row.get("scores") or [0.0]))


def keep_distinct(
    keypoints: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], keypoint_set: KeypointSet, threshold: float
) -> Bool:
    """Greedy suppression within one picture: the best-scored pose stays, those with an OKS above it go, and so on.

    Args:
        keypoints: [N, K, 2]; all joints count, as in the original, but a set's dead ones.
        scores: [N].

    Returns:
        bool [N], poses to keep.
    """
    alive = [i for i, joint in enumerate(keypoint_set.joints) if joint not in keypoint_set.dead]
    points, sigmas = keypoints[:, alive], keypoint_set.sigmas[alive]
    area = np.ptp(points, axis=1).prod(axis=1)
    keep = np.ones(len(points), bool)
    for rank, i in enumerate(order := np.argsort(-scores, kind="stable")):
        if keep[i]:
            rest = order[rank + 1 :]
            similarity = keypoint_similarity(points[rest], points[i], (area[rest] + area[i]) / 2, sigmas)
            keep[rest] &= similarity.mean(1) <= threshold
    return keep

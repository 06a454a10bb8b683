"""Error classes as their definition reads, joint by joint."""

import math
from collections.abc import Iterator

import numpy as np

from posefix_track.error_classes import ERROR_CLASSES, NONE, AnnotatedPeople
from posefix_track.keypoints import KeypointSet

Owner = tuple[list[list[float]], list[bool], float]


def slow_classes(
    people: AnnotatedPeople, rows: np.ndarray, poses: np.ndarray, joints: KeypointSet, thresholds: tuple[float, float]
) -> Iterator[tuple[int, float]]:
    """Code and similarity of each joint of each pose: of all candidates in their order the first largest wins."""
    owners = list(zip(people.keypoints.tolist(), people.labelled.tolist(), people.area.tolist(), strict=True))
    for person, pose in zip(rows.tolist(), poses.tolist(), strict=True):
        others = [owners[g] for g in np.flatnonzero(people.image == people.image[person]) if g != person]
        for j, (sigma, mirrored) in enumerate(zip(joints.sigmas.tolist(), joints.flip_index.tolist(), strict=True)):
            candidates = [(owners[person], j, "good")] + [(other, j, "swap") for other in others]
            candidates += [(owners[person], mirrored, "inversion")] + [(other, mirrored, "swap") for other in others]
            best, kind = -1.0, "miss"
            for owner, target, name in candidates:
                similarity = _similarity(pose[j], owner, target, sigma)
                if similarity > best:
                    best, kind = similarity, name
            miss_below, good_from = thresholds
            kind = "miss" if best < miss_below else "jitter" if kind == "good" and best < good_from else kind
            yield ERROR_CLASSES.index(kind) if people.labelled[person, j] else NONE, best


def _similarity(place: list[float], owner: Owner, target: int, sigma: float) -> float:
    keypoints, labelled, area = owner
    if not labelled[target]:
        return -1.0
    dx, dy = place[0] - keypoints[target][0], place[1] - keypoints[target][1]
    return 0.0 if math.isnan(dx) else math.exp(-((dx * dx + dy * dy) / (2 * sigma) ** 2 / area / 2))

"""Object keypoint similarity (OKS), COCO's measure of how near a pose is to the annotated one, and matching by it.

``KS_j = exp(-d_j^2 / (2 * area * (2 * sigma_j)^2))`` and ``OKS = mean of KS_j over the annotated joints`` (pycocotools,
``COCOeval.computeOks``; the order of operations is kept so that ties fall the same way).
"""

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

# OKS is defined on the area that a person covers; COCO's people cover about this share of their boxes.
AREA_OF_BOX = 0.53


def keypoint_similarity(
    keypoints: npt.NDArray[np.floating],
    truth: npt.NDArray[np.floating],
    area: npt.NDArray[np.floating],
    sigmas: Float64,
) -> Float64:
    """Similarity of each joint to its annotated place.

    Args:
        keypoints: [..., K, 2] predicted, image pixels.
        truth: [..., K, 2] annotated, image pixels.
        area: [...] area of the annotated person in square pixels.
        sigmas: float64 [K], COCO's constants (``KeypointSet.sigmas``).

    Returns:
        float64 [..., K] in [0, 1].

    >>> here, there = np.zeros((1, 2)), np.array([[0.0, 10.0]])
    >>> keypoint_similarity(here, there, np.array(10_000.0), np.array([0.05])).round(4)
    array([0.6065])
    """
    offset = np.asarray(keypoints, np.float64) - truth
    return similarity_of_distance(offset, area, sigmas)


def similarity_of_distance(offset: Float64, area: npt.NDArray[np.floating], sigmas: Float64) -> Float64:
    """Similarity [..., K] of joints that are ``offset`` [..., K, 2] pixels away; see ``keypoint_similarity``."""
    variance = (sigmas * 2) ** 2
    squared = offset[..., 0] ** 2 + offset[..., 1] ** 2
    similarity: Float64 = np.exp(-(squared / variance / (np.asarray(area, np.float64)[..., None] + np.spacing(1)) / 2))
    return similarity


def oks(similarity: Float64, labelled: Bool) -> Float64:
    """Mean similarity over the labelled joints.

    Args:
        similarity: float64 [..., K] in [0, 1].
        labelled: bool [..., K].

    Returns:
        float64 [...] in [0, 1]; 0 for a person without a labelled joint.
    """
    count = labelled.sum(-1)
    mean: Float64 = np.where(labelled, similarity, 0.0).sum(-1) / np.maximum(count, 1)
    return mean


def oks_of_unlabelled(
    keypoints: npt.NDArray[np.floating], bbox_xyxy: Float64, area: Float64, sigmas: Float64
) -> Float64:
    """OKS with people who have no labelled joint: how far the pose leaves their box, doubled on each side.

    COCO does so to forgive detections of people whom nobody annotated. ``keypoints`` [..., K, 2], ``bbox_xyxy``
    [..., 4], ``area`` [...]; returns [...].
    """
    extent = bbox_xyxy[..., 2:] - bbox_xyxy[..., :2]
    low, high = (bbox_xyxy[..., :2] - extent)[..., None, :], (bbox_xyxy[..., 2:] + extent)[..., None, :]
    outside = np.maximum(0.0, low - keypoints) + np.maximum(0.0, keypoints - high)
    return np.asarray(similarity_of_distance(outside, area, sigmas).mean(-1))


def oks_of_pairs(
    keypoints: npt.NDArray[np.floating],
    truth: npt.NDArray[np.floating],
    labelled: Bool,
    area: Float64,
    bbox_xyxy: Float64,
    sigmas: Float64,
) -> Float64:
    """OKS of every pose with every person, as COCO's evaluation measures it.

    Args:
        keypoints: [D, K, 2] poses, image pixels.
        truth: [G, K, 2] annotated people; labelled: bool [G, K]; area: [G] square pixels; bbox_xyxy: [G, 4].
        sigmas: float64 [K].

    Returns:
        float64 [D, G] in [0, 1]; for people without a labelled joint that of ``oks_of_unlabelled``.
    """
    similarity = keypoint_similarity(keypoints[:, None], truth, area, sigmas)
    unlabelled = oks_of_unlabelled(keypoints[:, None], bbox_xyxy, area, sigmas)
    return np.where(labelled.any(1), oks(similarity, labelled), unlabelled)


def matches(similarity: Float64, least: float, ignored: Bool, crowd: Bool) -> list[tuple[int, int]]:
    """Give each pose to the most similar person still free, as COCO does it (``COCOeval.evaluateImg``).

    Args:
        similarity: float64 [D, G], poses in the order in which they choose.
        least: similarity of a match, at most 1.
        ignored: bool [G], ascending: people who are only taken when nobody else is similar enough.
        crowd: bool [G], people whom any number of poses may match.

    Returns:
        (person, pose) pairs.
    """
    pairs, free = [], np.ones(len(ignored), np.bool_)
    for pose, row in enumerate(similarity):
        allowed = (free | crowd) & (row >= min(least, 1 - 1e-10))
        candidates = np.flatnonzero(allowed & ~ignored)
        if not len(candidates):
            candidates = np.flatnonzero(allowed)
        if len(candidates):
            # The last of equally similar people, as pycocotools' running maximum has it.
            person = int(candidates[len(candidates) - 1 - np.argmax(row[candidates][::-1])])
            free[person] = False
            pairs.append((person, pose))
    return pairs

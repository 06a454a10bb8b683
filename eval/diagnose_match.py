"""Which detection belongs to which annotated person, and who overlaps whom."""

import numpy as np

from eval.diagnose_people import Detections, Int, People, rows_by_image
from eval.oks import Bool, Float64, keypoint_similarity, oks, oks_of_unlabelled

MAX_DETECTIONS = 20


def match_people(people: People, detections: Detections, sigmas: Float64, match_oks: float = 0.1) -> Int:
    """Assign detections to people as COCO does: by falling score, each to the most similar person still free.

    The 20 best detections of an image take part; people whom COCO ignores are only taken when nobody else is near
    enough (pycocotools, ``COCOeval.evaluateImg``).

    Returns:
        int64 [N]: the detection of each person, -1 for none and for crowds.
    """
    match = np.full(len(people), -1)
    ignored = people.ignored
    person_rows = rows_by_image(people.image, np.argsort(ignored, kind="stable"))
    by_score = np.argsort(-detections.scores, kind="stable")
    for image, found in rows_by_image(detections.image, by_score).items():
        if image in person_rows:
            rows, found = person_rows[image], found[:MAX_DETECTIONS]
            similarity = _oks_of_pairs(people, rows, detections.keypoints[found], sigmas)
            for row, d in _greedy(similarity, ignored[rows], people.crowd[rows], match_oks):
                match[rows[row]] = found[d]
    match[people.crowd] = -1
    return match


def box_overlaps(people: People, least_iou: float = 0.1) -> Int:
    """int64 [N]: with how many other people of the image each one's box has an IoU above ``least_iou``."""
    count = np.zeros(len(people), np.int64)
    for rows in rows_by_image(people.image, np.arange(len(people))).values():
        count[rows] = (_box_iou(people.bbox_xyxy[rows]) > least_iou).sum(1) - 1
    return np.maximum(count, 0)


def _oks_of_pairs(people: People, rows: Int, keypoints: Float64, sigmas: Float64) -> Float64:
    """float64 [detections, people]."""
    labelled, area = people.labelled[rows], people.area[rows]
    similarity = keypoint_similarity(keypoints[:, None], people.keypoints[rows], area, sigmas)
    unlabelled = oks_of_unlabelled(keypoints[:, None], people.bbox_xyxy[rows], area, sigmas)
    return np.where(labelled.any(1), oks(similarity, labelled), unlabelled)


def _greedy(similarity: Float64, ignored: Bool, crowd: Bool, match_oks: float) -> list[tuple[int, int]]:
    """(person, detection) pairs; people are ordered with the ignored ones last."""
    pairs, free = [], np.ones(len(ignored), np.bool_)
    for d, row in enumerate(similarity):
        allowed = (free | crowd) & (row >= min(match_oks, 1 - 1e-10))
        # A near person who counts goes before any that is ignored.
        candidates = np.flatnonzero(allowed & ~ignored)
        if not len(candidates):
            candidates = np.flatnonzero(allowed)
        if len(candidates):
            # The last of equally similar people, as pycocotools' running maximum has it.
            best = int(candidates[len(candidates) - 1 - np.argmax(row[candidates][::-1])])
            free[best] = False
            pairs.append((best, d))
    return pairs


def _box_iou(boxes: Float64) -> Float64:
    """float64 [n, n] intersection over union of boxes [n, 4]."""
    low, high = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return np.asarray(shared / np.maximum(area[:, None] + area - shared, np.spacing(1)))

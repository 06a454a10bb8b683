"""Which detection belongs to which annotated person, and who overlaps whom."""

import numpy as np

from eval.diagnose_people import Detections, Int, People, rows_by_image
from posefix_track.box_overlap import box_iou
from posefix_track.oks import Float64, matches, oks_of_pairs

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
            truth = people.keypoints[rows], people.labelled[rows], people.area[rows], people.bbox_xyxy[rows]
            similarity = oks_of_pairs(detections.keypoints[found], *truth, sigmas)
            for row, d in matches(similarity, match_oks, ignored[rows], people.crowd[rows]):
                match[rows[row]] = found[d]
    match[people.crowd] = -1
    return match


def box_overlaps(people: People, least_iou: float = 0.1) -> Int:
    """int64 [N]: with how many other people of the image each one's box has an IoU above ``least_iou``."""
    count = np.zeros(len(people), np.int64)
    for rows in rows_by_image(people.image, np.arange(len(people))).values():
        count[rows] = (box_iou(people.bbox_xyxy[rows], people.bbox_xyxy[rows]) > least_iou).sum(1) - 1
    return np.maximum(count, 0)

"""What a tracker would say of drawn figures: their joints with the errors that estimated poses have."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.box_overlap import box_iou
from posefix_track.figures.scene import FigureFrame
from posefix_track.keypoints import COCO_17, UNION_19
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.synthesis import People, synthesise


def tracked(truth: Sequence[FigureFrame], seed: int) -> PoseSequence:
    """What a tracker might have seen of the figures: COCO-17 poses with synthetic errors of published statistics."""
    rng = np.random.default_rng(seed)
    frames = tuple(_tracked_frame(index, frame, rng) for index, frame in enumerate(truth))
    return PoseSequence(COCO_17, frames)


def coco_joints(columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The COCO-17 joints of union-19 columns [N, 19, ...]."""
    return columns[:, COCO_17.map_from(UNION_19)]


def _tracked_frame(index: int, frame: FigureFrame, rng: np.random.Generator) -> FramePoses:
    keypoints, visible = coco_joints(frame.keypoints).astype(np.float64), coco_joints(frame.visible)
    people = len(keypoints)
    others = [[other for other in range(people) if other != person] for person in range(people)]
    extent = frame.bbox_xyxy[:, 2:] - frame.bbox_xyxy[:, :2]
    area = extent.prod(1).astype(np.float64)
    # Joints are only taken for those of people whose boxes touch.
    touching = box_iou(frame.bbox_xyxy, frame.bbox_xyxy) > 0
    near = visible[others] & touching[np.arange(people)[:, None], others][..., None]
    clean = People(keypoints, visible, keypoints[others], near, area)
    poses, status = synthesise(clean, COCO_17, rng)
    scores = np.where(status == 0, 0.9, 0.5).astype(np.float32)
    return FramePoses(
        poses.astype(np.float32), frame_index=index, scores=scores, track_ids=tuple(range(people)),
        person_scores=scores.mean(1),
    )  # fmt: skip

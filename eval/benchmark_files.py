"""PoseTrack 2018 documents of drawn sequences: ground truth as the data set has it, and trackers' predictions."""

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eval.benchmark_tracker import Detections
from posefix_track.figures import FigureFrame
from posefix_track.keypoints import POSETRACK_18, UNION_19

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Document = dict[str, Any]

_FROM_UNION = POSETRACK_18.map_from(UNION_19)
_HEAD = [UNION_19.index[name] for name in (
    "head_bottom", "head_top", "nose", "left_eye", "right_eye", "left_ear", "right_ear",
)]  # fmt: skip
# Annotators guess about half of the joints that something hides.
_HIDDEN_LABELLED = 0.5
# Head boxes are at least this wide, in distances from neck to crown; ignore regions reach this far round a body.
_HEAD_WIDTH = 0.8
_REGION_MARGIN = 0.07


def sequence_name(index: int) -> str:
    """File stem of a sequence, such as ``000001_mpii_test``."""
    return f"{index + 1:06d}_mpii_test"


def labelled_frames(frames: int) -> Bool:
    """bool [frames]: every fourth frame and the quarter in the middle, as in PoseTrack's validation set."""
    block = max(1, frames // 4)
    first = (frames - block) // 2
    index = np.arange(frames)
    return np.asarray((index % 4 == 0) | ((index >= first) & (index < first + block)))


def truth_document(name: str, frames: Sequence[FigureFrame], ignored: int, rng: np.random.Generator) -> Document:
    """Ground truth of a sequence; the first ``ignored`` people (the farthest) become ignore regions."""
    images = _images(name, len(frames))
    annotations: list[Document] = []
    for frame, image in zip(frames, images, strict=True):
        regions = [_outline(points) for points in frame.keypoints[:ignored].astype(np.float64)]
        image["ignore_regions_x"] = [region[:, 0].tolist() for region in regions]
        image["ignore_regions_y"] = [region[:, 1].tolist() for region in regions]
        if image["is_labeled"]:
            annotations += _annotated(image["id"], frame, ignored, rng)
    return {"categories": [_category()], "images": images, "annotations": annotations}


def prediction_document(name: str, detections: Sequence[Detections]) -> Document:
    """A tracker's output for a sequence: every frame, labelled or not."""
    images = [{key: image[key] for key in ("id", "file_name")} for image in _images(name, len(detections))]
    annotations = [
        row for image, found in zip(images, detections, strict=True) for row in _predicted(image["id"], found)
    ]
    return {"categories": [_category()], "images": images, "annotations": annotations}


def _images(name: str, frames: int) -> list[Document]:
    video = name.partition("_")[0]
    labelled = labelled_frames(frames)
    return [
        {
            # 1 is the data set's mark for videos from MPII.
            "id": (image_id := int(f"1{video}{i:04d}")),
            "frame_id": image_id,
            "vid_id": video,
            "nframes": frames,
            "is_labeled": bool(labelled[i]),
            "file_name": f"images/val/{name}/{i:06d}.jpg",
        }
        for i in range(frames)
    ]


def _category() -> Document:
    return {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(POSETRACK_18.joints),
        "skeleton": [[a + 1, b + 1] for a, b in POSETRACK_18.limbs],
    }


def _annotated(image_id: int, frame: FigureFrame, ignored: int, rng: np.random.Generator) -> Iterable[Document]:
    """The people of one frame who have a joint to label."""
    keypoints = frame.keypoints.astype(np.float64)
    edge = np.array([frame.image.shape[1], frame.image.shape[0]]) - 0.5
    inside = ((keypoints > -0.5) & (keypoints < edge)).all(-1)
    labelled = frame.visible | (inside & (rng.random(inside.shape) < _HIDDEN_LABELLED))
    for person in range(ignored, len(keypoints)):
        if labelled[person][_FROM_UNION[_FROM_UNION >= 0]].any():
            yield {
                "id": image_id * 100 + person,
                "image_id": image_id,
                "category_id": 1,
                "track_id": person - ignored,
                "bbox": _xywh(*frame.bbox_xyxy[person].astype(np.float64).reshape(2, 2)),
                "bbox_head": _head_box(keypoints[person]),
                "keypoints": _triplets(keypoints[person], labelled[person]),
                "scores": [],
            }


def _predicted(image_id: int, found: Detections) -> Iterable[Document]:
    for person, track_id in enumerate(found.track_ids):
        scores = found.scores[person]
        yield {
            "id": image_id * 100 + person,
            "image_id": image_id,
            "category_id": 1,
            "track_id": track_id,
            "keypoints": _triplets(found.keypoints[person], scores > 0),
            "scores": np.where(_FROM_UNION >= 0, scores[_FROM_UNION], 0).tolist(),
        }


def _triplets(keypoints: Float64, given: Bool) -> list[float]:
    """x, y, 1 of each joint in PoseTrack's order, 0, 0, 0 where it is not ``given`` [19] or has no place (ears)."""
    points = np.column_stack([keypoints.round(2), np.ones(len(keypoints))])
    known = given[_FROM_UNION] & (_FROM_UNION >= 0)
    flat: list[float] = np.where(known[:, None], points[_FROM_UNION], 0).ravel().tolist()
    return flat


def _head_box(keypoints: Float64) -> list[float]:
    """(x, y, width, height) round the head's joints, hidden or not."""
    head = keypoints[_HEAD]
    low, high = head.min(0), head.max(0)
    grow = np.maximum(0, _HEAD_WIDTH * np.linalg.norm(head[1] - head[0]) - (high - low)) / 2
    return _xywh(low - grow, high + grow)


def _xywh(low: Float64, high: Float64) -> list[float]:
    box: list[float] = np.concatenate([low, high - low]).round(2).tolist()
    return box


def _outline(keypoints: Float64) -> Float64:
    """Convex outline of a body with some room around, float64 [V, 2], whole pixels."""
    margin = _REGION_MARGIN * np.ptp(keypoints[:, 1])
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    around = keypoints[:, None] + margin * np.stack([np.cos(angles), np.sin(angles)], -1)
    hull = cv2.convexHull(around.reshape(-1, 2).round().astype(np.int32))
    return np.asarray(hull.reshape(-1, 2), np.float64)

"""Refinement the way the released PoseFix code goes about it, written plainly: the baseline of end_to_end.py.

One frame at a time (or one person), each step after the other in one thread: read a frame, cut every person out with
cv2, subtract the mean, draw full-size Gaussians with NumPy, run FP32 PyTorch as it comes, do the same again mirrored,
average the coordinates; one JSON file of COCO results at the end. Of networks with the original's config.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import orjson
import torch
import torch.nn.functional as F

from posefix_track.network import PoseFix
from posefix_track.poses import PoseSequence

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
Box = tuple[float, float, float]


def refine_the_original_way(
    video: Path, poses: PoseSequence, network: PoseFix, output: Path, flip: bool = True, by_person: bool = False
) -> int:
    """Refine a video and write COCO results.

    Args:
        video: read by OpenCV from its first frame.
        poses: of the joints that ``network`` knows, with frame indices.
        network: without skips and confidence, as ``original_config`` makes it; in evaluation mode.
        output: JSON.
        flip: average with the mirrored crop.
        by_person: run every person alone, not the people of a frame together.

    Returns:
        people refined.
    """
    results: list[dict[str, Any]] = []
    people = {frame.frame_index: frame.keypoints for frame in poses.frames}
    for index, image in _frames(video):
        keypoints = people.get(index, np.zeros((0, len(poses.keypoint_set), 2), np.float32))
        for some in np.split(keypoints, len(keypoints)) if by_person and len(keypoints) else [keypoints]:
            refined = _refine_people(image, some, network, flip) if len(some) else some
            results += [_result(index, person) for person in refined]
    output.write_bytes(orjson.dumps(results))
    return len(results)


def _frames(video: Path) -> Iterator[tuple[int, Image]]:
    capture, index = cv2.VideoCapture(str(video)), 0
    while True:
        found, image = capture.read()
        if not found:
            return
        yield index, image.astype(np.uint8, copy=False)
        index += 1


def _refine_people(image: Image, people: Float, network: PoseFix, flip: bool) -> Float:
    height, width = network.config.input_size
    boxes = [_box(person, height, width) for person in people]
    crops = np.stack([_crop(image, box, height, width) for box in boxes])
    inputs = np.stack([_to_crop(person, box, height, width) for person, box in zip(people, boxes, strict=True)])
    outputs = _run(network, crops, inputs)
    if flip:
        order = network.config.keypoint_set.flip_index
        mirrored = inputs[:, order] * (-1, 1) + (width - 1, 0)
        back = _run(network, crops[:, :, ::-1], mirrored.astype(np.float32))[:, order] * (-1, 1) + (width - 1, 0)
        outputs = (outputs + back) / 2
    return np.stack([_to_image(person, box, height, width) for person, box in zip(outputs, boxes, strict=True)])


def _run(network: PoseFix, crops: Image, keypoints: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    config = network.config
    images = crops.astype(np.float32) - np.array(config.mean, np.float32)
    heatmaps = np.stack([_gaussians(p, config.input_size, config.sigma, config.heatmap_peak) for p in keypoints])
    inputs = np.concatenate([images.transpose(0, 3, 1, 2), heatmaps], 1)
    with torch.inference_mode():
        stages = network.backbone(torch.from_numpy(inputs))
        logits = network.head.final(network.head(stages, []))
        probability = F.softmax(logits.flatten(2), 2).view(logits.shape)
        x = (probability.sum(2) * torch.arange(logits.shape[3])).sum(2)
        y = (probability.sum(3) * torch.arange(logits.shape[2])).sum(2)
    return torch.stack([x, y], 2).numpy() * 4


def _gaussians(person: npt.NDArray[np.floating], size: tuple[int, int], sigma: float, peak: float) -> Float:
    """float32 [K, H, W]."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    square = (x - person[:, 0, None, None]) ** 2 + (y - person[:, 1, None, None]) ** 2
    return np.asarray(peak * np.exp(-square / (2 * sigma**2)), np.float32)


def _box(person: npt.NDArray[np.floating], height: int, width: int) -> Box:
    """Centre and width of the region that the crop shows: the pose's extent x 1.2, in the crop's shape, x 1.25."""
    low, high = person.min(0), person.max(0)
    extent = np.where(high - low == 0, 20, high - low) * 1.2
    return float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2, max(extent[0], extent[1] * width / height) * 1.25


def _crop(image: Image, box: Box, height: int, width: int) -> Image:
    x, y, side = box
    scale = width / side
    matrix = np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]])
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _to_crop(person: npt.NDArray[np.floating], box: Box, height: int, width: int) -> npt.NDArray[np.floating]:
    return (person - box[:2]) * (width / box[2]) + (width / 2, height / 2)


def _to_image(person: npt.NDArray[np.floating], box: Box, height: int, width: int) -> npt.NDArray[np.floating]:
    return (person - (width / 2, height / 2)) * (box[2] / width) + box[:2]


def _result(index: int, person: npt.NDArray[np.floating]) -> dict[str, Any]:
    rows = np.concatenate([person.round(3), np.ones((len(person), 1))], 1)
    return {"image_id": index, "category_id": 1, "keypoints": rows.reshape(-1).tolist(), "score": 1.0}

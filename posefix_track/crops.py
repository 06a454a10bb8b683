"""Image <-> crop geometry and cropping: the only crop code, shared by training, evaluation and refinement.

An integer coordinate is a pixel centre on both sides. The map follows the original (Moon et al. 2019, released code):
``p' = (W/2, H/2) + W / box_width * R(-theta) (p - centre)``, the box grown to the crop's aspect and padded.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError

Float = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

# The original's answer to a pose without extent: a box of 20 pixels (released code, COCO and PoseTrack loaders).
MIN_EXTENT = 20.0


@dataclass(frozen=True)
class CropTransform:
    """Affine maps from image pixels to crop pixels for N people.

    Attributes:
        image_to_crop: float64 [N, 2, 3].
        input_size: (height, width) of the crop in pixels.
    """

    image_to_crop: Float64
    input_size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.image_to_crop.ndim != 3 or self.image_to_crop.shape[1:] != (2, 3):
            raise InputError(f"image_to_crop must have shape [N, 2, 3], got {list(self.image_to_crop.shape)}")

    def __len__(self) -> int:
        return len(self.image_to_crop)

    @property
    def scale(self) -> Float64:
        """float64 [N]: crop pixels per image pixel."""
        return np.hypot(self.image_to_crop[:, 0, 0], self.image_to_crop[:, 0, 1])

    def to_crop(self, keypoints: npt.NDArray[np.floating]) -> Float:
        """Image pixels [N, K, 2] -> crop pixels float32 [N, K, 2]."""
        return _apply(self.image_to_crop, keypoints)

    def to_image(self, crop_keypoints: npt.NDArray[np.floating]) -> Float:
        """Crop pixels [N, K, 2] -> image pixels float32 [N, K, 2]; the exact inverse of ``to_crop``."""
        return _apply(_inverted(self.image_to_crop), crop_keypoints)

    def crop(self, image: Image, antialias: bool = True) -> Image:
        """Cut all people out of one image.

        Args:
            image: uint8 [H, W, 3], any channel order.
            antialias: average the pixels that fall together when a person is more than twice as large as the crop;
                False is the original's plain bilinear sampling.

        Returns:
            uint8 [N, height, width, 3]; black outside the image.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"an image must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
        crops = np.empty((len(self), *self.input_size, 3), np.uint8)
        for matrix, scale, crop in zip(self.image_to_crop, self.scale, crops, strict=True):
            source, matrix = _shrunk(image, matrix, self.input_size, int(1 / scale) if antialias else 1)
            _warp(source, matrix, crop)
        return crops


def crop_transform(
    boxes_xyxy: npt.NDArray[np.floating],
    input_size: tuple[int, int],
    padding: float,
    rotation_degrees: npt.NDArray[np.floating] | float = 0.0,
) -> CropTransform:
    """The transform that shows each box, grown to the crop's aspect and by ``padding``, upright in the crop.

    Args:
        boxes_xyxy: [N, 4] image pixels.
        input_size: (height, width) of the crop.
        padding: factor on both box sides after the aspect is right; the original uses 1.5 in total.
        rotation_degrees: rotation of the picture about the box centre, one or [N].
    """
    height, width = input_size
    centre = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]).astype(np.float64) / 2
    extent = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).astype(np.float64)
    box_width = np.maximum(extent[:, 0], extent[:, 1] * width / height) * padding
    theta = np.broadcast_to(np.deg2rad(rotation_degrees), box_width.shape)
    cos, sin = np.cos(theta) * width / box_width, np.sin(theta) * width / box_width
    linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    offset = np.array([width / 2, height / 2]) - np.einsum("nij,nj->ni", linear, centre)
    return CropTransform(np.concatenate([linear, offset[..., None]], -1), input_size)


def keypoint_boxes(keypoints: npt.NDArray[np.floating], present: npt.NDArray[np.bool_]) -> Float64:
    """Tight boxes round the present joints.

    Args:
        keypoints: [N, K, 2] image pixels.
        present: bool [N, K].

    Returns:
        float64 [N, 4] (x1, y1, x2, y2); a side of less than one pixel becomes 20 (the original's rule); NaN for a
        person without any present joint.
    """
    inside = present[..., None]
    low = np.where(inside, keypoints, np.inf).min(1, initial=np.inf).astype(np.float64)
    high = np.where(inside, keypoints, -np.inf).max(1, initial=-np.inf).astype(np.float64)
    nobody = ~present.any(1)
    low[nobody] = high[nobody] = np.nan
    grow = np.where(high - low < 1, (MIN_EXTENT - (high - low)) / 2, 0.0)
    return np.concatenate([low - grow, high + grow], 1)


def _apply(matrices: Float64, points: npt.NDArray[np.floating]) -> Float:
    moved = np.einsum("nij,nkj->nki", matrices[:, :, :2], points.astype(np.float64)) + matrices[:, None, :, 2]
    return np.asarray(moved, np.float32)


def _inverted(matrices: Float64) -> Float64:
    linear = np.linalg.inv(matrices[:, :, :2])
    return np.concatenate([linear, -linear @ matrices[:, :, 2:]], -1)


def _warp(source: Image, matrix: Float64, out: Image) -> None:
    height, width = out.shape[:2]
    cv2.warpAffine(source, matrix, (width, height), dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _shrunk(image: Image, matrix: Float64, input_size: tuple[int, int], factor: int) -> tuple[Image, Float64]:
    """The part of the image that the crop shows, averaged over factor x factor pixels, and the map from it."""
    if factor < 2:
        return image, matrix
    height, width = input_size
    corners = np.array([[[0, 0], [width, 0], [0, height], [width, height]]], np.float64)
    seen = _apply(_inverted(matrix[None]), corners)[0]
    x0, y0 = np.maximum(np.floor(seen.min(0)).astype(int) - factor, 0)
    x1, y1 = np.minimum(np.ceil(seen.max(0)).astype(int) + factor, image.shape[1::-1])
    columns, rows = (x1 - x0) // factor, (y1 - y0) // factor
    if columns < 1 or rows < 1:
        return image, matrix
    part = image[y0 : y0 + rows * factor, x0 : x0 + columns * factor]
    small = cv2.resize(part, (int(columns), int(rows)), interpolation=cv2.INTER_AREA)
    # Pixel i of the small picture is centred on x0 + factor * i + (factor - 1) / 2 of the large one.
    offset = matrix[:, :2] @ (np.array([x0, y0]) + (factor - 1) / 2) + matrix[:, 2]
    return small.astype(np.uint8, copy=False), np.concatenate([matrix[:, :2] * factor, offset[:, None]], 1)

"""Image <-> crop geometry and cropping: the only crop code, shared by training, evaluation and refinement.

An integer coordinate is a pixel centre on both sides. The map follows the original (Moon et al. 2019, released code):
``p' = c + W / box_width * R(-theta) (p - centre)``, the box grown to the crop's aspect and padded. There c is
(W/2, H/2); here it is the middle of the crop's pixels, ((W-1)/2, (H-1)/2), so that the crop of a mirrored picture is
the mirrored crop.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError

Float = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
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
        averaged = self.averaged(image.shape, antialias)
        for i, (matrix, crop) in enumerate(zip(averaged.to_crop, crops, strict=True)):
            _warp(averaged.picture(image, i), matrix, crop)
        return crops

    def averaged(self, image_shape: tuple[int, ...], antialias: bool = True) -> "Averaged":
        """The pictures that the crops of an image [H, W, ...] are sampled from, see ``crop``."""
        height, width = image_shape[:2]
        factor = (
            np.maximum((1 / self.scale).astype(np.int64), 1)[:, None] if antialias else np.ones((len(self), 1), int)
        )
        low, extent, twice = self._blocks(factor, (width, height))
        # A picture as it is, where nothing is to be averaged or nothing of the image is seen.
        plain = (factor == 1) | (extent < 1).any(1, keepdims=True)
        factor = np.where(plain, 1, factor)
        low, extent, twice = np.where(plain, 0, low), np.where(plain, (width, height), extent), twice & ~plain[:, 0]
        # Pixel i of an averaged picture is centred on low + factor * i + (factor - 1) / 2 of the image, half a pixel
        # further right where it is the mean of two.
        linear, first = self.image_to_crop[:, :, :2], low + (factor - 1) / 2 + twice[:, None] * (0.5, 0)
        offset = np.einsum("nij,nj->ni", linear, first) + self.image_to_crop[:, :, 2]
        to_crop = np.concatenate([linear * factor[..., None], offset[..., None]], 2)
        return Averaged(factor[:, 0], low, extent, twice, to_crop)

    def _blocks(self, factor: Int, size: tuple[int, int]) -> tuple[Int, Int, Bool]:
        """``low``, ``extent`` and ``twice`` of Averaged.

        Blocks lie symmetrically about the crop's middle, so that whole pixels of shift shift them and a mirror mirrors
        them. About the middle of a pixel no blocks of an even side do; two sets of them, a pixel apart, do.
        """
        rows, columns = self.input_size
        corners = np.array([(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)], np.float64)
        seen = _moved(_inverted(self.image_to_crop), np.broadcast_to(corners, (len(self), 4, 2)))
        first, last = seen.min(1), seen.max(1)
        # Half pixels from the image's edge; rounded twice, as coordinates in quarters of a pixel are common and float64
        # is noisy, too.
        middle = np.rint(np.round(first + last, 6)).astype(np.int64) + 1
        origin = np.where(middle % 2, middle - np.where(factor % 2, factor, 1), middle) // 2
        twice = (middle[:, 0] % 2 == 1) & (factor[:, 0] % 2 == 0)
        centre = origin + (factor - 1) / 2 + twice[:, None] * (0.5, 0)
        low = origin + factor * np.floor((first - centre) / factor).astype(np.int64)
        high = origin + factor * (np.ceil((last - centre) / factor).astype(np.int64) + 1)
        # Blocks that share a pixel with the image.
        before = factor - 1 + twice[:, None] * (1, 0)
        low = np.maximum(low, (origin + before) % factor - before)
        high = np.minimum(high, size + (origin - size) % factor)
        return low, (high - low) // factor, twice


@dataclass(frozen=True)
class Averaged:
    """Pictures of N people in which a pixel is the mean of factor x factor image pixels.

    Attributes:
        factor: int64 [N].
        low: int64 [N, 2], (x, y) of the first image pixel; up to factor pixels before the image, which are black.
        extent: int64 [N, 2], (width, height) in pixels of the picture.
        twice: bool [N], the picture is the mean of itself and the one whose pixels begin an image pixel further right.
        to_crop: float64 [N, 2, 3], pixels of the picture to crop pixels.
    """

    factor: Int
    low: Int
    extent: Int
    twice: Bool
    to_crop: Float64

    def picture(self, image: Image, person: int) -> Image:
        """That of one person, uint8 [height, width, 3]; ``image`` itself where nothing is averaged."""
        factor, size, twice = int(self.factor[person]), self.extent[person].tolist(), int(self.twice[person])
        if factor == 1:
            return image
        x, y = self.low[person].tolist()
        part = _part(image, x, y, size[0] * factor + twice, size[1] * factor)
        if not twice:
            return _shrunk(part, size)
        return np.asarray(
            cv2.addWeighted(_shrunk(part[:, :-1], size), 0.5, _shrunk(part[:, 1:], size), 0.5, 0), np.uint8
        )


def crop_transform(
    boxes_xyxy: npt.NDArray[np.floating],
    input_size: tuple[int, int],
    padding: float,
    rotation_degrees: npt.NDArray[np.floating] | float = 0.0,
    centred: bool = True,
) -> CropTransform:
    """The transform that shows each box, grown to the crop's aspect and by ``padding``, upright in the crop.

    Args:
        boxes_xyxy: [N, 4] image pixels.
        input_size: (height, width) of the crop.
        padding: factor on both box sides after the aspect is right; the original uses 1.5 in total.
        rotation_degrees: rotation of the picture about the box centre, one or [N].
        centred: put the box centre on the middle of the crop's pixels; False is the original's half a pixel beyond.
    """
    height, width = input_size
    centre = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]).astype(np.float64) / 2
    extent = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).astype(np.float64)
    box_width = np.maximum(extent[:, 0], extent[:, 1] * width / height) * padding
    theta = np.broadcast_to(np.deg2rad(rotation_degrees), box_width.shape)
    cos, sin = np.cos(theta) * width / box_width, np.sin(theta) * width / box_width
    linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    middle = np.array([width - centred, height - centred]) / 2
    offset = middle - np.einsum("nij,nj->ni", linear, centre)
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


def _part(image: Image, x: int, y: int, width: int, height: int) -> Image:
    """The pixels from (x, y) on; black where the image has none."""
    part = image[max(y, 0) : y + height, max(x, 0) : x + width]
    top, left = max(-y, 0), max(-x, 0)
    bottom, right = height - top - part.shape[0], width - left - part.shape[1]
    if not (top or left or bottom or right):
        return part
    return np.asarray(cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT), np.uint8)


def _shrunk(part: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)


def _apply(matrices: Float64, points: npt.NDArray[np.floating]) -> Float:
    return np.asarray(_moved(matrices, points.astype(np.float64)), np.float32)


def _moved(matrices: Float64, points: Float64) -> Float64:
    return np.asarray(np.einsum("nij,nkj->nki", matrices[:, :, :2], points) + matrices[:, None, :, 2])


def _inverted(matrices: Float64) -> Float64:
    """By Cramer's rule: numpy's inverse of small matrices takes longer than everything else here."""
    a, b, c, d = (matrices[:, i, j] for i in (0, 1) for j in (0, 1))
    linear = np.stack([d, -b, -c, a], 1).reshape(-1, 2, 2) / (a * d - b * c)[:, None, None]
    return np.concatenate([linear, -linear @ matrices[:, :, 2:]], -1)


def _warp(source: Image, matrix: Float64, out: Image) -> None:
    height, width = out.shape[:2]
    cv2.warpAffine(source, matrix, (width, height), dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

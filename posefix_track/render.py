"""Poses drawn on pictures: left side warm, right side cool, one colour a person where there are track ids."""

import colorsys
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.frames import Image
from posefix_track.keypoints import KeypointSet

Colour = tuple[int, int, int]
Floating = npt.NDArray[np.floating]

# BGR.
_LEFT: Colour = (40, 140, 255)
_RIGHT: Colour = (255, 170, 40)
_CENTRE: Colour = (150, 225, 110)
_RIM: Colour = (25, 20, 20)
_PAPER: Colour = (250, 250, 250)
_BAND: Colour = (38, 34, 32)
# OpenCV draws at 1/16 pixel.
_SHIFT = 4
# Limb width over person size, and its limits in pixels.
_WIDTH_RATIO, _MIN_WIDTH, _MAX_WIDTH = 1 / 75, 1.6, 14.0
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class _Style:
    """How one person is drawn: limb width in pixels, and a colour of its own or None for the sides' colours."""

    width: float
    colour: Colour | None


def draw_poses(
    image_bgr: Image,
    keypoints: Floating,
    present: npt.NDArray[np.bool_],
    keypoint_set: KeypointSet,
    *,
    track_ids: Sequence[Hashable] | None = None,
    scores: Floating | None = None,
) -> Image:
    """A copy of the picture with all people drawn on it, the smallest first.

    Args:
        image_bgr: uint8 [H, W, 3].
        keypoints: [N, K, 2] image pixels.
        present: bool [N, K]; a joint that is absent is not drawn, nor any limb to it.
        keypoint_set: what the K joints are.
        track_ids: N ids; limbs then take a colour that depends on the id alone, and the id is written at the head.
        scores: [N, K] in [0, 1]; a doubtful joint is drawn smaller.

    Raises:
        InputError: shapes that do not fit together.
    """
    _check_shapes(keypoints, present, keypoint_set)
    drawable = present & np.isfinite(keypoints).all(-1)
    # Limbs that reach far out of the picture would overflow OpenCV's fixed-point coordinates.
    drawable &= (np.abs(np.nan_to_num(keypoints)) < 10 * max(image_bgr.shape[:2])).all(-1)
    canvas = image_bgr.copy()
    extents = np.array([_extent(points[found]) for points, found in zip(keypoints, drawable, strict=True)])
    for person in np.argsort(extents, kind="stable"):
        colour = None if track_ids is None else id_colour(track_ids[person])
        style = _Style(float(np.clip(extents[person] * _WIDTH_RATIO, _MIN_WIDTH, _MAX_WIDTH)), colour)
        weights = np.ones(len(keypoint_set)) if scores is None else np.clip(scores[person], 0.4, 1)
        _draw_person(canvas, keypoints[person], drawable[person], keypoint_set, weights, style)
        if track_ids is not None:
            _draw_tag(canvas, keypoints[person][drawable[person]], str(track_ids[person]), style)
    return canvas


def side_by_side(left: Image, right: Image, labels: tuple[str, str] = ("input", "refined")) -> Image:
    """Two pictures of one size next to each other under a caption band. Raises InputError where the sizes differ."""
    if left.shape != right.shape:
        raise InputError(f"pictures side by side must have one size, got {list(left.shape)} and {list(right.shape)}")
    height, width = left.shape[:2]
    band = max(22, min(height, width) // 26)
    gap = max(2, width // 320)
    canvas = np.full((band + height, 2 * width + gap, 3), _BAND, np.uint8)
    for picture, label, x in ((left, labels[0], 0), (right, labels[1], width + gap)):
        canvas[band:, x : x + width] = picture
        _caption(canvas, label, x + band // 2, band)
    return canvas


def id_colour(track_id: Hashable) -> Colour:
    """A strong BGR colour that is the same for the same id in every run."""
    # Golden-angle steps keep neighbouring ids apart; other ids than integers go through a checksum.
    number = track_id if isinstance(track_id, int) else zlib.crc32(str(track_id).encode())
    red, green, blue = colorsys.hsv_to_rgb(0.08 + number * 0.618034 % 1.0, 0.72, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def _check_shapes(keypoints: Floating, present: npt.NDArray[np.bool_], keypoint_set: KeypointSet) -> None:
    expected = (len(keypoints), len(keypoint_set), 2)
    if keypoints.shape != expected or present.shape != expected[:2]:
        raise InputError(
            f"expected keypoints {list(expected)} and present {list(expected[:2])} for {keypoint_set.name},"
            f" got {list(keypoints.shape)} and {list(present.shape)}"
        )


def _extent(points: Floating) -> float:
    return float(np.ptp(points, axis=0).max()) if len(points) else 0.0


def _draw_person(
    canvas: Image, points: Floating, found: npt.NDArray[np.bool_], joints: KeypointSet, weights: Floating, style: _Style
) -> None:
    limbs = [(a, b) for a, b in joints.limbs if found[a] and found[b]]
    # Dark first and wider: a rim keeps the figure visible on any background. It would drown hair lines.
    for a, b in limbs:
        width = _limb_width(joints, a, b, weights, style)
        if width >= _MIN_WIDTH:
            _line(canvas, points[a], points[b], _RIM, width + max(1.5, style.width / 2))
    for a, b in limbs:
        colour = style.colour or _side_colour(joints, a, b)
        _line(canvas, points[a], points[b], colour, _limb_width(joints, a, b, weights, style))
    for joint in np.flatnonzero(found).tolist():
        radius = style.width * 0.95 * weights[joint] * _size_factor(joints.joints[joint])
        _dot(canvas, points[joint], _RIM, radius + max(0.8, style.width / 5))
        _dot(canvas, points[joint], _side_colour(joints, joint, joint), radius)


def _limb_width(joints: KeypointSet, a: int, b: int, weights: Floating, style: _Style) -> float:
    factor = min(_size_factor(joints.joints[a]), _size_factor(joints.joints[b]))
    return float(style.width * factor * min(weights[a], weights[b]))


def _size_factor(joint: str) -> float:
    """Faces, hands and feet are small: finer lines there."""
    if joint.startswith("face_") or "_hand_" in joint:
        return 0.3
    return 0.6 if any(part in joint for part in ("nose", "eye", "ear", "toe", "heel")) else 1.0


def _side_colour(joints: KeypointSet, a: int, b: int) -> Colour:
    sides = {joints.joints[joint].split("_")[0] for joint in (a, b)} & {"left", "right"}
    if len(sides) != 1:
        return _CENTRE
    return _LEFT if "left" in sides else _RIGHT


def _fixed(point: Floating) -> tuple[int, int]:
    return round(float(point[0]) * 2**_SHIFT), round(float(point[1]) * 2**_SHIFT)


def _line(canvas: Image, start: Floating, end: Floating, colour: Colour, width: float) -> None:
    cv2.line(canvas, _fixed(start), _fixed(end), colour, max(1, round(width)), cv2.LINE_AA, _SHIFT)


def _dot(canvas: Image, centre: Floating, colour: Colour, radius: float) -> None:
    cv2.circle(canvas, _fixed(centre), max(1, round(radius * 2**_SHIFT)), colour, -1, cv2.LINE_AA, _SHIFT)


def _draw_tag(canvas: Image, points: Floating, text: str, style: _Style) -> None:
    """The id on a plate above the highest joint, kept inside the picture."""
    if not len(points) or style.colour is None:
        return
    scale = max(0.4, style.width / 9)
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, max(1, round(scale * 1.6)))
    top = points[points[:, 1].argmin()]
    x = int(np.clip(top[0] - width / 2, 2, max(2, canvas.shape[1] - width - 4)))
    y = int(np.clip(top[1] - 3.5 * style.width - 4, height + 4, max(height + 4, canvas.shape[0] - 4)))
    cv2.rectangle(canvas, (x - 3, y - height - 3), (x + width + 3, y + 4), style.colour, -1, cv2.LINE_AA)
    cv2.putText(canvas, text, (x, y), _FONT, scale, _RIM, max(1, round(scale * 1.6)), cv2.LINE_AA)


def _caption(canvas: Image, text: str, x: int, band: int) -> None:
    scale = band / 40
    (_, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    cv2.putText(canvas, text, (x, (band + height) // 2), _FONT, scale, _PAPER, max(1, band // 24), cv2.LINE_AA)

"""Clips of figures that cross one another, and single pictures of one or two people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.figures.body import pose_body
from posefix_track.figures.canvas import NOBODY, Canvas
from posefix_track.figures.figure import Figure, Look
from posefix_track.figures.looks import random_background, random_light, random_look
from posefix_track.figures.motion import FRAMES_PER_SECOND, WALKING_YAW, Walker, random_pose

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

# Owner of the pixels of a thing in the foreground, as of no person.
_THING = 254
_MAX_PEOPLE = 200
_SHADOW = 0.35


@dataclass(frozen=True)
class FigureFrame:
    """One picture and the truth about it; N people, nearest last.

    Attributes:
        image: uint8 [H, W, 3], BGR.
        keypoints: float32 [N, 19, 2] image pixels in the order of keypoints.UNION_19, also of hidden joints.
        visible: bool [N, 19]; False outside the picture and behind another person or thing. A joint that only the
            person's own body hides counts as visible.
        track_ids: N ids, the same through a clip.
        bbox_xyxy: float32 [N, 4], round all joints, with some room for the body, cut off at the picture's edge.
    """

    image: Image
    keypoints: Float
    visible: npt.NDArray[np.bool_]
    track_ids: tuple[int, ...]
    bbox_xyxy: Float


def render_clip(frames: int, people: int, size: tuple[int, int], seed: int) -> Iterator[FigureFrame]:
    """A clip of people who walk across, wave and turn round before a fixed background.

    The same arguments give the same clip. People start on alternate sides and walk towards each other, so that two
    and more cross within the first half of the clip.

    Args:
        frames: number of pictures, 30 a second.
        people: 1 to 200.
        size: (height, width) in pixels.
        seed: of everything random.

    Raises:
        InputError: no people, too many, or a size below 16 pixels.
    """
    if not 1 <= people <= _MAX_PEOPLE or min(size) < 16:
        raise InputError(f"expected 1 to {_MAX_PEOPLE} people and at least 16x16 pixels, got {people} and {size}")
    rng = np.random.default_rng(seed)
    background, light = random_background(rng, *size), random_light(rng)
    cast = [_actor(rng, index, people, size, frames / FRAMES_PER_SECOND) for index in range(people)]
    for _ in range(frames):
        canvas = Canvas(background, light)
        figures = [actor.step() for actor in cast]
        for figure in figures:
            _paint_shadow(canvas, figure)
        for track_id, figure in enumerate(figures):
            figure.paint(canvas, track_id)
        yield _finished(canvas, figures, _quantised(canvas.pixels))


def render_person(rng: np.random.Generator, size: tuple[int, int]) -> FigureFrame:
    """One picture of one or two people in random poses, clothes, light and surroundings.

    They fill a half to the whole of the picture's height, may reach beyond its edges, cover each other and be partly
    covered by a thing in front. The last person is the nearest.

    Args:
        rng: all randomness.
        size: (height, width) in pixels.
    """
    canvas = Canvas(random_background(rng, *size), random_light(rng))
    figures = [_random_figure(rng, size) for _ in range(1 + int(rng.random() < 0.4))]
    for owner, figure in enumerate(figures):
        figure.paint(canvas, owner)
    if rng.random() < 0.2:
        _paint_thing(canvas, rng)
    return _finished(canvas, figures, _photographed(canvas.pixels, rng))


@dataclass
class _Actor:
    """A walker with a look on a line of the floor: ``ground`` is the pixel row under the feet."""

    walker: Walker
    look: Look
    stature: float
    ground: float

    def step(self) -> Figure:
        body = pose_body(self.walker.step(), self.look.build)
        lowest = max(body.points[f"{side}_{part}"][1] for side in ("left", "right") for part in ("toe", "heel"))
        origin = (self.walker.x * self.stature, self.ground - lowest * self.stature)
        return Figure(body, self.look, origin, self.stature)


def _actor(rng: np.random.Generator, index: int, people: int, size: tuple[int, int], seconds: float) -> _Actor:
    height, width = size
    nearness = (index + 1) / people
    stature = height * (0.56 + 0.12 * nearness) * float(rng.uniform(0.94, 1.06))
    middle, reach = width / 2 / stature, 0.36 * width / stature
    heading = 1 if index % 2 else -1
    pace = float(rng.uniform(0.85, 1.2))
    # Opposite walkers meet after about a third of the clip; those behind one another are spread out.
    start = min(reach, 0.8 * pace * seconds / 3) * float(rng.uniform(0.85, 1.0)) + 0.25 * (index // 2)
    walker = Walker(
        rng,
        x=middle - heading * start,
        low=middle - reach,
        high=middle + reach,
        heading=heading,
        pace=pace,
        walks_for=float(rng.uniform(0.45, 0.8)) * max(seconds, 1.0),
        speed=heading * 0.8 * pace,
        yaw=heading * WALKING_YAW,
        phase=float(rng.uniform(0, 2 * np.pi)),
        seconds=float(rng.uniform(0, 1)),
        turns_away=bool(rng.random() < 0.4),
    )
    return _Actor(walker, random_look(rng), stature, height * (0.84 + 0.12 * nearness))


def _random_figure(rng: np.random.Generator, size: tuple[int, int]) -> Figure:
    height, width = size
    look = random_look(rng)
    body = pose_body(random_pose(rng), look.build)
    extent = np.ptp([point[:2] for point in body.points.values()], axis=0)
    # As large as fits, times something between half and somewhat more than all.
    stature = float(min(height / extent[1], width / max(extent[0], 0.2)) * rng.uniform(0.5, 1.1))
    centre = np.mean([np.max(list(body.points.values()), 0), np.min(list(body.points.values()), 0)], 0)[:2]
    shift = rng.normal(0, 0.1, 2) * (width, height)
    x, y = np.array([width / 2, height / 2]) + shift - centre * stature
    return Figure(body, look, (float(x), float(y)), stature)


def _paint_shadow(canvas: Canvas, figure: Figure) -> None:
    feet = [figure.body.points[f"{side}_{part}"] for side in ("left", "right") for part in ("toe", "heel")]
    x = float(np.mean([foot[0] for foot in feet]))
    ground = max(foot[1] for foot in feet)
    reach = 0.12 + 0.5 * float(np.ptp([foot[0] for foot in feet]))
    centre = (x * figure.stature + figure.origin[0], float(ground * figure.stature + figure.origin[1]))
    canvas.shadow(centre, (reach * figure.stature, 0.045 * figure.stature), _SHADOW)


def _paint_thing(canvas: Canvas, rng: np.random.Generator) -> None:
    """A plain block that covers part of the scene."""
    height, width = canvas.owner.shape
    mask = np.zeros((height, width), np.uint8)
    centre = (float(rng.uniform(0, width)), float(rng.uniform(0.4, 1) * height))
    box = cv2.boxPoints((centre, (float(rng.uniform(0.1, 0.5) * width), float(rng.uniform(0.1, 0.5) * height)),
                         float(rng.uniform(-20, 20))))  # fmt: skip
    cv2.fillPoly(mask, [box.astype(np.int32)], 1)
    canvas.pixels[mask > 0] = rng.uniform(20, 230, 3)
    canvas.owner[mask > 0] = _THING


def _photographed(pixels: Float, rng: np.random.Generator) -> Image:
    """Exposure, white balance, defocus and noise of a camera."""
    pixels = pixels * np.float32(rng.uniform(0.7, 1.25) * rng.uniform(0.92, 1.08, 3))
    if rng.random() < 0.4:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.4, 1.5))), np.float32)
    noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(0, 9))
    return _quantised(pixels + noise)


def _quantised(pixels: Float) -> Image:
    return np.asarray(np.clip(pixels + 0.5, 0, 255), np.uint8)


def _finished(canvas: Canvas, figures: Sequence[Figure], image: Image) -> FigureFrame:
    keypoints = np.stack([figure.keypoints() for figure in figures])
    visible = _visible(canvas, keypoints)
    room = np.array([figure.stature for figure in figures], np.float32)[:, None] * 0.03
    height, width = canvas.owner.shape
    edge = np.array([width - 1, height - 1], np.float32)
    low, high = np.clip(keypoints.min(1) - room, 0, edge), np.clip(keypoints.max(1) + room, 0, edge)
    return FigureFrame(image, keypoints, visible, tuple(range(len(figures))), np.concatenate([low, high], 1))


def _visible(canvas: Canvas, keypoints: Float) -> npt.NDArray[np.bool_]:
    height, width = canvas.owner.shape
    x, y = np.rint(keypoints).astype(int).transpose(2, 0, 1)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    owner = canvas.owner[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    mine = np.arange(len(keypoints))[:, None]
    # The background at a joint is the rim of the own body (a far eye in profile), not something in front.
    return np.asarray(inside & ((owner == mine) | (owner == NOBODY)))

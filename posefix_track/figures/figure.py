"""A posed body with a look becomes solids, sorted from back to front."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from posefix_track.figures.body import HEAD_HEIGHT, SIDES, Body, Build
from posefix_track.figures.canvas import Ball, Canvas, Paint, Tube
from posefix_track.keypoints import UNION_19

Float = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_NEUTRAL_LIP = (70.0, 70.0, 140.0)
_EYE_WHITE = Paint((235.0, 235.0, 235.0))
# Half widths in statures from the neck (0) to the hips (1): to the side, and front to back.
_CHEST_AT = np.linspace(0, 1, 13)
_CHEST_WIDTH = np.interp(_CHEST_AT, (0, 0.1, 0.25, 0.5, 0.75, 1), (0.045, 0.092, 0.112, 0.100, 0.089, 0.101))
_CHEST_DEPTH = np.interp(_CHEST_AT, (0, 0.1, 0.3, 0.5, 0.75, 1), (0.038, 0.052, 0.073, 0.071, 0.064, 0.072))


@dataclass(frozen=True)
class Look:
    """Body shape, colours and clothes.

    Attributes:
        sleeves: 0 none, 1 to the elbow, 2 to the wrist.
        trouser_legs: 0.5 shorts, 1 to the knee, 2 to the ankle.
        skirt: paint of a skirt over the legs, if any.
        hair_style: "short", "long", "bald" or "cap".
    """

    build: Build
    skin: Paint
    hair: Paint
    eyes: Paint
    shirt: Paint
    trousers: Paint
    shoes: Paint
    sleeves: float = 1.0
    trouser_legs: float = 2.0
    skirt: Paint | None = None
    hair_style: str = "short"


@dataclass(frozen=True)
class Figure:
    """A person in the picture.

    Attributes:
        origin: pixel of the middle of the hips.
        stature: standing height in pixels.
    """

    body: Body
    look: Look
    origin: tuple[float, float]
    stature: float

    def keypoints(self) -> Float:
        """float32 [19, 2] image pixels in the order of UNION_19."""
        places = np.array([self.body.points[joint][:2] for joint in UNION_19.joints])
        return (places * self.stature + self.origin).astype(np.float32)

    def paint(self, canvas: Canvas, owner: int) -> None:
        """Draw the figure on the canvas as ``owner``, back to front."""
        solids = [*self._torso(), *self._head()]
        for side in SIDES:
            solids += [*self._arm(side), *self._leg(side)]
        for _, solid in sorted(solids, key=lambda entry: entry[0]):
            if isinstance(solid, Tube):
                canvas.tube(solid, owner)
            else:
                canvas.ball(solid, owner)

    def _torso(self) -> Iterator[tuple[float, Tube | Ball]]:
        points, torso, build = self.body.points, self.body.torso, self.look.build
        top, bottom = points["neck"], torso[:, 1] * -0.025
        width = _CHEST_WIDTH * np.linspace(build.shoulders, build.hips, len(_CHEST_WIDTH)) * (0.5 + 0.5 * build.girth)
        normal = _across((bottom - top)[:2])
        left, _, forward = (torso[:2] * normal[:, None]).sum(0)
        # The outline of an elliptic section, as wide as it looks from the viewer's side.
        seen = np.hypot(width * left, _CHEST_DEPTH * build.girth * forward)
        yield self._tube(top, bottom, seen, self.look.shirt, 0.012, flat_end=True)
        girth = 0.060 * build.girth
        yield self._tube(
            points["left_hip"], points["right_hip"], (girth, girth), self.look.skirt or self.look.trousers, -0.01
        )
        yield self._tube(top - torso[:, 1] * 0.012, points["head_bottom"], (0.036, 0.030), self.look.skin, 0.013)
        if self.look.skirt is not None:
            hem = 0.425 * (points["left_knee"] + points["right_knee"])
            spread = 0.3 * float(np.linalg.norm((points["left_knee"] - points["right_knee"])[:2]))
            radii = (0.088, 0.105, 0.09 + spread)
            yield self._tube(torso[:, 1] * 0.04, hem, radii, self.look.skirt, 0.1, flat_end=True)

    def _arm(self, side: str) -> Iterator[tuple[float, Tube | Ball]]:
        shoulder, elbow, wrist, finger = (
            self.body.points[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist", "finger")
        )
        girth, look = self.look.build.girth, self.look
        upper, lower = np.array([0.033, 0.033, 0.026]) * girth, np.array([0.027, 0.027, 0.018]) * girth
        yield from self._limb(shoulder, elbow, upper, look.shirt, look.sleeves, 0.05)
        yield from self._limb(elbow, wrist, lower, look.shirt, look.sleeves - 1, 0.055)
        yield self._tube(wrist, finger, (0.017, 0.021, 0.017, 0.009), look.skin, 0.054)

    def _leg(self, side: str) -> Iterator[tuple[float, Tube | Ball]]:
        hip, knee, ankle, heel, toe = (
            self.body.points[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "heel", "toe")
        )
        girth, look = self.look.build.girth, self.look
        thigh, shank = np.array([0.056, 0.055, 0.040]) * girth, np.array([0.040, 0.044, 0.034, 0.023]) * girth
        cover = 0.0 if look.skirt is not None else look.trouser_legs
        # The thigh starts below the hip, whose place the pelvis fills: no bulge over the shirt's hem.
        yield from self._limb(hip + (knee - hip) * 0.12, knee, thigh, look.trousers, cover, -0.004)
        yield from self._limb(knee, ankle, shank, look.trousers, cover - 1, -0.003)
        instep = (ankle - heel) * 0.3
        yield self._tube(heel + instep, toe + instep * 0.7, (0.027, 0.028, 0.017), look.shoes, -0.005)

    def _limb(
        self, start: Float64, end: Float64, radii: Float64, cloth: Paint, cover: float, bias: float
    ) -> Iterator[tuple[float, Tube]]:
        """Bare skin, and cloth over the first ``cover`` of it."""
        depth, skin = self._tube(start, end, radii, self.look.skin, bias)
        yield depth, skin
        if cover > 0:
            share = min(cover, 1.0)
            reached = np.interp(np.linspace(0, share, len(radii)), np.linspace(0, 1, len(radii)), radii)
            _, sleeve = self._tube(start, start + (end - start) * share, reached * 1.15 + 0.002, cloth, 0.0, share < 1)
            # The depth of the whole limb: cloth must not vanish behind its own skin.
            yield depth + 0.0005, sleeve

    def _head(self) -> Iterator[tuple[float, Tube | Ball]]:
        points, axes, look = self.body.points, self.body.head, self.look
        size = HEAD_HEIGHT * look.build.head
        depth, skull = self._ball(points["head"], (0.37 * size, 0.53 * size, 0.45 * size), look.skin, 0.03)
        yield depth, replace(skull, hair=None if look.hair_style == "bald" else look.hair)
        for side in SIDES:
            yield self._ball(points[f"{side}_ear"], (0.06 * size, 0.13 * size, 0.09 * size), look.skin, 0.03)
        if look.hair_style == "long":
            top = points["head"] - axes[:, 2] * 0.15 * size
            end = points["head_bottom"] - axes[:, 2] * 0.35 * size - self.body.torso[:, 1] * 0.35 * size
            yield self._tube(top, end, (0.42 * size, 0.42 * size, 0.25 * size), look.hair, 0.02)
        yield from self._face(size)

    def _face(self, size: float) -> Iterator[tuple[float, Tube | Ball]]:
        """Features that look towards the viewer."""
        points, axes = self.body.points, self.body.head
        seen = [name for name in ("left_eye", "right_eye", "mouth", "nose")
                if (points[name] - points["head"])[2] > 0.12 * size]  # fmt: skip
        bias = 0.03 + size
        for name in seen:
            if name == "nose":
                yield self._ball(points[name] - axes[:, 2] * 0.07 * size, (0.06 * size, 0.1 * size, 0.09 * size),
                                 self.look.skin, bias + 0.003)  # fmt: skip
            elif name == "mouth":
                half = axes[:, 0] * 0.1 * size
                yield self._tube(points[name] - half, points[name] + half, (0.02 * size, 0.032 * size, 0.02 * size),
                                 Paint(_NEUTRAL_LIP), bias)  # fmt: skip
            else:
                yield self._ball(points[name], (0.075 * size, 0.05 * size, 0.03 * size), _EYE_WHITE, bias)
                yield self._ball(points[name], (0.038 * size,) * 3, self.look.eyes, bias + 0.001)
                brow = points[name] + axes[:, 1] * 0.12 * size
                half = axes[:, 0] * 0.08 * size
                yield self._tube(brow - half, brow + half, (0.018 * size, 0.022 * size), self.look.hair, bias)

    def _tube(
        self,
        start: Float64,
        end: Float64,
        radii: tuple[float, ...] | Float64,
        paint: Paint,
        bias: float,
        flat_end: bool = False,
    ) -> tuple[float, Tube]:
        """Measures in statures; ``bias`` is added to the depth that decides what lies in front."""
        sizes = tuple(float(radius) * self.stature for radius in radii)
        return float(start[2] + end[2]) / 2 + bias, Tube(self._pixel(start), self._pixel(end), sizes, paint, flat_end)

    def _ball(
        self, centre: Float64, radii: tuple[float, float, float], paint: Paint, bias: float
    ) -> tuple[float, Ball]:
        sizes = (radii[0] * self.stature, radii[1] * self.stature, radii[2] * self.stature)
        return float(centre[2]) + bias, Ball(self._pixel(centre), self.body.head, sizes, paint)

    def _pixel(self, point: Float64) -> tuple[float, float]:
        return float(point[0] * self.stature + self.origin[0]), float(point[1] * self.stature + self.origin[1])


def _across(axis: Float64) -> Float64:
    """Unit vector at right angles to an image direction."""
    return np.array([-axis[1], axis[0]]) / max(float(np.linalg.norm(axis)), 1e-6)

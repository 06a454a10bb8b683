"""Shaded, anti-aliased solids on a floating-point picture, with a record of who covers which pixel."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Vector = npt.NDArray[np.floating]
Colour = tuple[float, float, float]

NOBODY = 255
_TABLE = 64
_TILE = 256


@dataclass(frozen=True)
class Light:
    """A lamp far away: unit direction towards it (x right, y down, z to the viewer), and brightness."""

    direction: tuple[float, float, float] = (-0.42, -0.56, 0.71)
    ambient: float = 0.5
    diffuse: float = 0.62


@dataclass(frozen=True)
class Paint:
    """A surface: BGR colour 0-255, and optionally stripes of a second one.

    Attributes:
        pattern: "plain", "hoops" (across the limb), "stripes" (along it) or "block" (second half).
        count: number of stripes.
        roughness: strength of the cloth's mottling, 0 to about 0.3.
    """

    colour: Colour
    second: Colour = (0.0, 0.0, 0.0)
    pattern: str = "plain"
    count: float = 5.0
    roughness: float = 0.05


@dataclass(frozen=True)
class Tube:
    """A limb: a round solid about the line from ``start`` to ``end`` (pixels), with radii at equal steps along it.

    Its ends are half balls; ``flat_end`` cuts the second one off.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    radii: tuple[float, ...]
    paint: Paint
    flat_end: bool = False


@dataclass(frozen=True)
class Ball:
    """An ellipsoid: centre in pixels, axes float64 [3, 3] with a unit direction and ``radii`` pixels a column.

    ``hair`` covers what lies above and behind: the surface where the direction's product with the vector
    ``hairline`` (along the axes) exceeds ``hairline_level``.
    """

    centre: tuple[float, float]
    axes: Vector
    radii: tuple[float, float, float]
    paint: Paint
    hair: Paint | None = None
    hairline: tuple[float, float, float] = (0.0, 0.75, -0.66)
    hairline_level: float = 0.12


class Canvas:
    """A picture that solids are painted on, back to front.

    Attributes:
        pixels: float32 [H, W, 3], BGR 0-255.
        owner: uint8 [H, W], who painted the pixel last; 255 is the background.
    """

    def __init__(self, background: Float, light: Light) -> None:
        self.pixels = background.copy()
        self.owner: npt.NDArray[np.uint8] = np.full(background.shape[:2], NOBODY, np.uint8)
        self.light = light

    def tube(self, tube: Tube, owner: int) -> None:
        """Paint a limb."""
        a, b = np.array(tube.start), np.array(tube.end)
        window = self._window(np.minimum(a, b), np.maximum(a, b), max(tube.radii))
        if window is None:
            return
        rows, columns, y, x = window
        length = max(float(np.hypot(*(b - a))), 1e-3)
        ux, uy = ((b - a) / length).astype(np.float32)
        dx, dy = x - np.float32(a[0]), y - np.float32(a[1])
        ahead, aside = dx * ux + dy * uy, dy * ux - dx * uy
        along = np.clip(ahead / np.float32(length), 0, 1)
        radius = _profile(tube.radii)[(along * (_TABLE - 1)).astype(np.int32)]
        beyond = ahead - along * np.float32(length)
        alpha = np.clip(radius - np.sqrt(aside * aside + beyond * beyond) + np.float32(0.5), 0, 1)
        if tube.flat_end:
            alpha *= np.clip(np.float32(length + 0.5) - ahead, 0, 1)
        # Shaded as if it went on beyond its ends: no seam where two limbs meet.
        across = np.clip(aside / radius, -1, 1)
        colour = _coloured(tube.paint, along, across)
        shade = self._shade(-across * uy, across * ux, across * across)
        shade *= _mottled(tube.paint.roughness, rows, columns, a)
        self._blend(rows, columns, alpha, colour * shade[..., None], owner)

    def ball(self, ball: Ball, owner: int) -> None:
        """Paint an ellipsoid as seen along z."""
        centre = np.array(ball.centre)
        window = self._window(centre, centre, max(ball.radii))
        if window is None:
            return
        rows, columns, y, x = window
        dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
        form = (ball.axes / np.square(ball.radii)) @ ball.axes.T
        m = form.astype(np.float32)
        linear = (m[0, 2] * dx + m[1, 2] * dy) / m[2, 2]
        flat = m[0, 0] * dx * dx + 2 * m[0, 1] * dx * dy + m[1, 1] * dy * dy - m[2, 2] * linear * linear
        alpha = np.clip((1 - np.sqrt(np.maximum(flat, 0))) * np.float32(min(ball.radii)) + 0.5, 0, 1)
        depth = np.sqrt(np.maximum(1 - flat, 0) / m[2, 2]) - linear
        point = np.stack([dx + 0 * dy, dy + 0 * dx, depth])
        local = _times(ball.axes.T, point) / _single(ball.radii)[:, None, None]
        normal = _times(m, point)
        normal /= np.sqrt((normal * normal).sum(0)) + np.float32(1e-6)
        colour = np.broadcast_to(_single(ball.paint.colour), (*flat.shape, 3))
        if ball.hair is not None:
            cover = _times(np.array([ball.hairline]), local)[0] - np.float32(ball.hairline_level)
            weight = np.clip(cover * np.float32(min(ball.radii)) + 0.5, 0, 1)[..., None]
            colour = colour + weight * (_single(ball.hair.colour) - colour)
        shade = self._shade(normal[0], normal[1], np.minimum(flat, 1))
        self._blend(rows, columns, alpha, colour * shade[..., None], owner)

    def shadow(self, centre: tuple[float, float], radii: tuple[float, float], strength: float) -> None:
        """Darken the ground softly; nobody owns a shadow."""
        window = self._window(np.array(centre), np.array(centre), max(radii))
        if window is None:
            return
        rows, columns, y, x = window
        distance = np.square((x - np.float32(centre[0])) / radii[0]) + np.square((y - np.float32(centre[1])) / radii[1])
        self.pixels[rows, columns] *= (1 - strength * np.clip(1 - distance, 0, 1))[..., None]

    def _window(self, low: Vector, high: Vector, margin: float) -> tuple[slice, slice, Float, Float] | None:
        """The part of the picture that a solid can touch, and its pixel coordinates."""
        height, width = self.owner.shape
        x0, y0 = np.maximum(np.floor(low - margin - 1), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(high + margin + 2), (width, height)).astype(int)
        if x1 <= x0 or y1 <= y0:
            return None
        y = np.arange(y0, y1, dtype=np.float32)[:, None]
        return slice(y0, y1), slice(x0, x1), y, np.arange(x0, x1, dtype=np.float32)[None]

    def _shade(self, nx: Float, ny: Float, square: Float) -> Float:
        """Lambert's law, and darker where the surface turns away: limbs stand out from one another."""
        nz = np.sqrt(np.maximum(1 - square, 0))
        lx, ly, lz = self.light.direction
        lit = np.maximum(nx * np.float32(lx) + ny * np.float32(ly) + nz * np.float32(lz), 0)
        shade = (self.light.ambient + self.light.diffuse * lit) * (0.72 + 0.28 * nz)
        return np.asarray(shade, np.float32)

    def _blend(self, rows: slice, columns: slice, alpha: Float, colour: Float, owner: int) -> None:
        below = self.pixels[rows, columns]
        below += alpha[..., None] * (colour - below)
        self.owner[rows, columns][alpha > 0.5] = owner


def _single(values: npt.ArrayLike) -> Float:
    return np.asarray(values, np.float32)


def _times(matrix: Vector, vectors: Float) -> Float:
    """[M, 3] times [3, H, W]. Not by BLAS, whose threads fight over so small a product on a busy machine."""
    return _single(np.einsum("ij,jhw->ihw", _single(matrix), vectors))


def _profile(radii: tuple[float, ...]) -> Float:
    table = np.interp(np.linspace(0, 1, _TABLE), np.linspace(0, 1, len(radii)), radii)
    return _single(np.maximum(table, 0.3))


@cache
def _cloth() -> Float:
    """A tile of soft noise about 0 that wraps around."""
    noise = np.random.default_rng(0).normal(0, 1, (_TILE, _TILE)).astype(np.float32)
    wrapped = np.pad(noise, 16, "wrap")
    soft = cv2.GaussianBlur(wrapped, (0, 0), 1.2) * 3 + cv2.GaussianBlur(wrapped, (0, 0), 5) * 14
    return np.asarray(soft[16:-16, 16:-16], np.float32)


def _mottled(roughness: float, rows: slice, columns: slice, anchor: Vector) -> Float:
    """Noise that moves along with the limb."""
    y = (np.arange(rows.start, rows.stop) - int(anchor[1])) % _TILE
    x = (np.arange(columns.start, columns.stop) - int(anchor[0])) % _TILE
    return np.asarray(1 + roughness * _cloth()[y[:, None], x], np.float32)


def _coloured(paint: Paint, along: Float, across: Float) -> Float:
    if paint.pattern == "plain":
        return np.broadcast_to(_single(paint.colour), (*along.shape, 3))
    if paint.pattern == "block":
        weight = np.clip((along - 0.5) * 30, 0, 1)
    else:
        wave = along if paint.pattern == "hoops" else across * 0.5
        weight = np.clip(np.sin(wave * np.float32(2 * np.pi * paint.count)) * 4 + 0.5, 0, 1)
    first, second = _single(paint.colour), _single(paint.second)
    return np.asarray(first + weight[..., None] * (second - first), np.float32)

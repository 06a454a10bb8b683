"""Ignore regions: which points lie strictly inside an outline."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from eval.posetrack_frames import Bool, Float

# Shewchuk's bound for a 2 x 2 determinant of differences is 3.4e-16 of the products' magnitudes.
_ROUNDING = 1e-15


def inside_any(points: Float, outlines: Sequence[Float]) -> Bool:
    """bool [M]: which of ``points`` [M, 2] are strictly inside at least one of ``outlines`` ([V, 2] each)."""
    inside = np.zeros(len(points), dtype=bool)
    for outline in outlines:
        inside |= strictly_inside(points, outline)
    return inside


def strictly_inside(points: Float, outline: Float) -> Bool:
    """bool [M]: which of ``points`` [M, 2] are inside the closed ``outline`` [V, 2] and not on it.

    Even-odd rule: where an outline crosses itself, a part that it goes round twice is outside. Points on the outline
    are told exactly, not up to rounding.
    """
    if len(outline) < 3:
        return np.zeros(len(points), dtype=bool)
    start, end, point = outline, np.roll(outline, -1, axis=0), points[:, None]
    spans = (start[:, 1] > point[..., 1]) != (end[:, 1] > point[..., 1])
    side = _side(start, end, point, spans)
    crossings = (spans & (side * np.sign(end[:, 1] - start[:, 1]) > 0)).sum(1)
    inside: Bool = (crossings % 2 == 1) & ~_on_outline(start, end, point, spans & (side == 0))
    return inside


def _on_outline(start: Float, end: Float, point: Float, on_slope: Bool) -> Bool:
    low, high = np.minimum(start, end), np.maximum(start, end)
    flat = (low[:, 1] == point[..., 1]) & (high[:, 1] == point[..., 1])
    on_flat = flat & (low[:, 0] <= point[..., 0]) & (point[..., 0] <= high[:, 0])
    on_corner = (point == end).all(-1)
    return np.asarray((on_slope | on_flat | on_corner).any(1))


def _side(start: Float, end: Float, point: Float, needed: Bool) -> Float:
    """Sign [M, V] of the cross product (end - start) x (point - start), exact wherever ``needed``."""
    edge, arm = end - start, point - start
    left, right = edge[:, 0] * arm[..., 1], edge[:, 1] * arm[..., 0]
    side = np.sign(left - right)
    unsure = needed & (np.abs(left - right) <= _ROUNDING * (np.abs(left) + np.abs(right)))
    for m, v in np.argwhere(unsure):
        side[m, v] = _exact_side(start[v], end[v], point[m, 0])
    return side


def _exact_side(start: Float, end: Float, point: Float) -> int:
    (x1, y1), (x2, y2), (x, y) = (tuple(map(Fraction, p.tolist())) for p in (start, end, point))
    cross = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
    return (cross > 0) - (cross < 0)

"""Pose synthesis one joint of one person at a time, the way the released code of PoseFix goes about it.

For each joint every status tries its whole batch of points round each of its anchors, keeps those that its rule allows
and takes one of them; only then the status is drawn. Slow, and plain enough to serve as the oracle of the tests and as
the measure of the benchmark. COCO's 17 joints in COCO's order only: probabilities go by joint number.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.error_classes import GOOD, INVERSION, JITTER, MISS, SWAP
from posefix_track.keypoints import COCO_17
from posefix_track.synthesis import People, SynthesisRules

Float64 = npt.NDArray[np.float64]
Point = tuple[float, float]

# Points tried round each anchor.
_POINTS = {GOOD: 125, JITTER: 500, INVERSION: 500, SWAP: 500, MISS: 2000}


@dataclass(frozen=True)
class Anchors:
    """Anchor points of one joint in the released code's order: truth, swaps, the partner, swapped partners."""

    truth: Point
    swaps: list[Point]
    partner: list[Point]
    swapped_partners: list[Point]

    @property
    def every(self) -> list[Point]:
        """All of them in order."""
        return [self.truth, *self.swaps, *self.partner, *self.swapped_partners]


def synthesise_slowly(
    people: People, rng: np.random.Generator, rules: SynthesisRules
) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Like ``posefix_track.synthesis.synthesise`` for COCO_17, one joint after the other."""
    batch, joints = people.labelled.shape
    position, status = people.base.copy(), np.full((batch, joints), -1)
    for b in range(batch):
        for j in range(joints):
            points = place(_anchors(people, b, j, position[b], rules), _radii(j, people.area[b]), rng, rules)
            probabilities = status_probabilities_slowly(j, people, b)
            possible = [p if found is not None else 0.0 for p, found in zip(probabilities, points, strict=True)]
            if sum(possible) > 0:
                drawn = int(rng.choice(5, p=np.array(possible) / sum(possible)))
                status[b, j], position[b, j] = drawn, points[drawn]
    return position, status


def _anchors(people: People, b: int, j: int, working: Float64, rules: SynthesisRules) -> Anchors:
    flip = int(COCO_17.flip_index[j])
    near = range(people.near.shape[1])
    partner = working[flip] if rules.corrupted_partners else people.base[b, flip]
    paired = flip != j
    return Anchors(
        tuple(people.base[b, j]),
        [tuple(people.near[b, m, j]) for m in near if people.near_labelled[b, m, j]],
        [tuple(partner)] if paired and people.labelled[b, flip] else [],
        [tuple(people.near[b, m, flip]) for m in near if paired and people.near_labelled[b, m, flip]],
    )


def _radii(j: int, area: float) -> tuple[float, float, float]:
    scale = 2 * COCO_17.sigmas[j] * math.sqrt(area)
    r85, r50, r10 = (float(scale * math.sqrt(-2 * math.log(ks))) for ks in (0.85, 0.5, 0.1))
    return r85, r50, r10


def place(
    anchors: Anchors, radii: tuple[float, float, float], rng: np.random.Generator, rules: SynthesisRules
) -> list[Point | None]:
    """One point for each of the five statuses, None where no try succeeds."""
    r85, r50, r10 = radii
    every, swap_start = anchors.every, r85 if rules.paper_radii else 0.0
    own = [anchors.truth, *anchors.partner]
    swaps = [*anchors.swaps, *anchors.swapped_partners]
    if rules.first_swapped_partner_repels and not anchors.partner and anchors.swapped_partners:
        # The released code takes whatever follows the swaps in its list for the partner.
        own = [anchors.truth, anchors.swapped_partners[0]]
        swaps = [*anchors.swaps, *anchors.swapped_partners[1:]]
    good = _survivors(GOOD, 0, every, (0.0, r85), rng)
    jitter = _survivors(JITTER, 0, every, (r85, r50), rng)
    at_partner = 1 + len(anchors.swaps)
    inversion = _survivors(INVERSION, at_partner, every, (swap_start, r50), rng) if anchors.partner else good[:0]
    swap = [_survivors(SWAP, 0, [a, *own], (swap_start, r50), rng) for a in swaps]
    miss = [_survivors(MISS, i, every, (r50, r10), rng, r50) for i in range(len(every))]
    miss[1:] = [points[rng.integers(len(points), size=len(points) // 4)] if len(points) else points
                for points in miss[1:]]  # fmt: skip
    pools = [good, jitter, inversion, np.concatenate([good[:0], *swap]), np.concatenate(miss)]
    return [tuple(pool[rng.integers(len(pool))]) if len(pool) else None for pool in pools]


def _survivors(
    status: int,
    centre: int,
    anchors: list[Point],
    radius: tuple[float, float],
    rng: np.random.Generator,
    limit: float | None = None,
) -> Float64:
    """Points [n, 2] round ``anchors[centre]`` that stay farther than ``limit``, or their own radius, from the rest."""
    angle, r = rng.uniform(0, 2 * math.pi, _POINTS[status]), rng.uniform(*radius, _POINTS[status])
    x, y = anchors[centre][0] + r * np.cos(angle), anchors[centre][1] + r * np.sin(angle)
    keep = np.ones(len(r), bool)
    for i, (ax, ay) in enumerate(anchors):
        if i != centre:
            keep &= np.sqrt((x - ax) ** 2 + (y - ay) ** 2) > (r if limit is None else limit)
    return np.stack([x[keep], y[keep]], -1)


def status_probabilities_slowly(j: int, people: People, b: int) -> list[float]:
    """The published probabilities of COCO joint ``j`` of person ``b``, by joint number."""
    visible, overlap = int(people.labelled[b].sum()), int(people.near_labelled[b].any(1).sum())
    few = visible <= 10
    jitter = 0.15 if few else 0.10
    if 1 <= j <= 12:
        jitter += 0.10 if j in (11, 12) else 0.05
    band = 0 if visible <= 5 else 1 if few else 2
    if j <= 4:
        miss = (0.15, 0.10, 0.02)[band]
    else:
        miss = ((0.20, 0.13, 0.05) if j in (5, 6, 15, 16) else (0.25, 0.15, 0.10))[band]
    part = 0 if j <= 4 else 1 if j <= 10 else 2
    crowded = (few and overlap > 0) or (visible <= 15 and overlap >= 3)
    inversion = (0.01, 0.03, 0.06)[part]
    swap = ((0.02, 0.15, 0.10) if crowded else (0.01, 0.06, 0.03))[part]
    return [1 - jitter - inversion - swap - miss, jitter, inversion, swap, miss]

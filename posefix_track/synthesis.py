"""Synthetic pose errors with the statistics of real estimators (PoseFix, section 3; rules of the released code).

Each joint gets one of five statuses: good, jitter, inversion (left/right partner), swap (another person's joint) or
miss. Radii follow the keypoint similarity KS(d) = exp(-d^2 / (2 area (2 sigma)^2)). Anchors are the clean joints; the
released code sees already corrupted left joints when it treats right ones.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.keypoints import KeypointSet

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

GOOD, JITTER, INVERSION, SWAP, MISS = range(5)
STATUSES = ("good", "jitter", "inversion", "swap", "miss")

# The released code tries 500 points (miss: 2000) for an anchor before it calls a status unavailable.
_ROUNDS, _TRIES = 32, 16
_FACE, _SHOULDER, _ARM, _HIP, _KNEE, _ANKLE = range(6)
_GROUPS = {
    "nose": _FACE, "eye": _FACE, "ear": _FACE, "head_bottom": _FACE, "head_top": _FACE, "head": _FACE,
    "shoulder": _SHOULDER, "elbow": _ARM, "wrist": _ARM, "hip": _HIP, "knee": _KNEE, "ankle": _ANKLE,
}  # fmt: skip
# Probabilities by group (face, shoulder, elbow/wrist, hip, knee, ankle) and by visible joints: <= 5, 6..10, >= 11.
_JITTER = np.array([[0.20, 0.20, 0.20, 0.25, 0.15, 0.15]] * 2 + [[0.15, 0.15, 0.15, 0.20, 0.10, 0.10]])
_MISS = np.array(
    [[0.15, 0.20, 0.25, 0.25, 0.25, 0.20], [0.10, 0.13, 0.15, 0.15, 0.15, 0.13], [0.02, 0.05, 0.10, 0.10, 0.10, 0.05]]
)
_INVERSION = np.array([0.01, 0.03, 0.03, 0.06, 0.06, 0.06])
_SWAP = np.array([[0.01, 0.06, 0.06, 0.03, 0.03, 0.03], [0.02, 0.15, 0.15, 0.10, 0.10, 0.10]])  # free, crowded


@dataclass(frozen=True)
class People:
    """What synthesis needs to know of B people, in any pixel frame.

    Attributes:
        base: float64 [B, K, 2], where each joint is, or is taken to be where it is not labelled.
        labelled: bool [B, K], joints whose truth is known.
        near: float64 [B, M, K, 2], joints of up to M people near by.
        near_labelled: bool [B, M, K].
        area: float64 [B], of the tight person box in square pixels of the same frame.
    """

    base: Float64
    labelled: Bool
    near: Float64
    near_labelled: Bool
    area: Float64


def similarity_distance(similarity: float, sigmas: Float64, area: Float64) -> Float64:
    """Distance at which each joint has this keypoint similarity: sqrt(-2 area (2 sigma)^2 ln KS), pixels [B, K]."""
    return np.asarray(2 * sigmas * np.sqrt(-2 * area[:, None] * np.log(similarity)))


def status_probabilities(keypoints: KeypointSet, visible: Int, overlap: Int) -> Float64:
    """Probabilities of the five statuses before unavailable ones are removed, float64 [B, K, 5].

    Args:
        keypoints: the joints' names decide their groups.
        visible: [B], number of labelled joints.
        overlap: [B], number of people near by.
    """
    groups = np.array([_group(name) for name in keypoints.joints])
    band = np.digitize(visible, [6, 11])
    crowded = ((visible <= 10) & (overlap > 0)) | ((visible <= 15) & (overlap >= 3))
    jitter = _JITTER[band][:, groups]
    # The released code gives the nose the jitter of the knees, unlike the rest of the face.
    jitter[:, [i for i, name in enumerate(keypoints.joints) if name == "nose"]] -= 0.05
    errors = [
        jitter,
        np.broadcast_to(_INVERSION[groups], jitter.shape),
        _SWAP[crowded.astype(int)][:, groups],
        _MISS[band][:, groups],
    ]
    return np.stack([1 - sum(errors), *errors], -1)


def synthesise(
    people: People, keypoints: KeypointSet, rng: np.random.Generator, probabilities: Float64 | None = None
) -> tuple[Float64, Int]:
    """Draw an erroneous pose for each person.

    Args:
        people: B clean people with K joints.
        keypoints: the set that the K joints follow.
        rng: the only source of randomness.
        probabilities: [B, K, 5] in place of the published ones.

    Returns:
        keypoints float64 [B, K, 2], and the status of each joint int64 [B, K]; status -1 where no status was possible
        (the joint then stays at its base).
    """
    if probabilities is None:
        overlap = people.near_labelled.any(2).sum(1)
        probabilities = status_probabilities(keypoints, people.labelled.sum(1), overlap)
    anchors = _Anchors(people, keypoints)
    remaining = np.where(anchors.available(), probabilities.reshape(-1, 5), 0.0)
    position, status = anchors.base.copy(), np.full(len(anchors.base), -1)
    pending = np.arange(len(status))
    # Drawing a status, and another one where it proves impossible, equals the original's renormalisation.
    while len(pending := pending[remaining[pending].sum(1) > 0]):
        drawn = _choice(remaining[pending], rng)
        found, points = anchors.place(pending, drawn, rng)
        position[pending[found]], status[pending[found]] = points[found], drawn[found]
        remaining[pending[~found], drawn[~found]] = 0
        pending = pending[~found]
    shape = people.labelled.shape
    return position.reshape(*shape, 2), status.reshape(shape)


class _Anchors:
    """Candidate centres of every joint, N = B * K rows of A anchors: gt, inversion, swaps, swapped partners.

    The rejection rules are geometric: a point must be nearer to its own anchor than to those that its status forbids.
    """

    def __init__(self, people: People, keypoints: KeypointSet) -> None:
        flip = keypoints.flip_index
        paired = flip != np.arange(len(keypoints))
        batch, joints = people.labelled.shape
        inverted, near_inverted = people.base[:, flip], people.near[:, :, flip]
        points = [people.base[:, None], inverted[:, None], people.near, near_inverted]
        valid = [
            np.ones((batch, 1, joints), bool),
            (people.labelled[:, flip] & paired)[:, None],
            people.near_labelled,
            people.near_labelled[:, :, flip] & paired,
        ]
        self.points = np.concatenate(points, 1).transpose(0, 2, 1, 3).reshape(batch * joints, -1, 2)
        self.valid = np.concatenate(valid, 1).transpose(0, 2, 1).reshape(batch * joints, -1)
        self.base = self.points[:, 0]
        self.radii = np.stack(
            [similarity_distance(ks, keypoints.sigmas, people.area).reshape(-1) for ks in (0.85, 0.5, 0.1)], 1
        )

    def available(self) -> Bool:
        """bool [N, 5]: statuses that have an anchor at all."""
        always = np.ones(len(self.valid), bool)
        return np.stack([always, always, self.valid[:, 1], self.valid[:, 2:].any(1), always], 1)

    def place(self, rows: Int, status: Int, rng: np.random.Generator) -> tuple[Bool, Float64]:
        """A point that obeys the rules for each row: whether one was found, and where, [n] and [n, 2]."""
        found, points = np.zeros(len(rows), bool), np.zeros((len(rows), 2))
        for _ in range(_ROUNDS):
            open_rows = np.flatnonzero(~found)
            if not len(open_rows):
                break
            candidates, allowed = self._propose(rows[open_rows], status[open_rows], rng)
            first = allowed.argmax(1)
            hit = allowed[np.arange(len(first)), first]
            points[open_rows[hit]] = candidates[hit, first[hit]]
            found[open_rows[hit]] = True
        return found, points

    def _propose(self, rows: Int, status: Int, rng: np.random.Generator) -> tuple[Float64, Bool]:
        """_TRIES points round a drawn anchor for each row, and which of them the rules allow: [n, T, 2], [n, T]."""
        shape = (len(rows), _TRIES)
        centre = _choice(np.repeat(self._anchor_weights(rows, status), _TRIES, 0), rng).reshape(shape)
        near, far = self._radius_range(rows, status)
        radius = near[:, None] + (far - near)[:, None] * rng.random(shape)
        angle = rng.random(shape) * 2 * np.pi
        offset = np.stack([np.cos(angle), np.sin(angle)], -1) * radius[..., None]
        candidates = self.points[rows[:, None], centre] + offset
        return candidates, self._allowed(rows, status, centre, radius, candidates)

    def _anchor_weights(self, rows: Int, status: Int) -> Float64:
        """How likely each anchor is a centre [n, A]; for a miss the truth counts four times as much as any other."""
        kind = np.minimum(np.arange(self.valid.shape[1]), 2)
        table = np.zeros((5, 3))
        table[[GOOD, JITTER], 0] = table[INVERSION, 1] = table[SWAP, 2] = 1
        table[MISS] = (1, 0.25, 0.25)
        weights: Float64 = table[status][:, kind] * self.valid[rows]
        return weights

    def _radius_range(self, rows: Int, status: Int) -> tuple[Float64, Float64]:
        r85, r50, r10 = self.radii[rows].T
        near = np.where(status == JITTER, r85, np.where(status == MISS, r50, 0.0))
        far = np.where(status == GOOD, r85, np.where(status == MISS, r10, r50))
        return near, far

    def _allowed(self, rows: Int, status: Int, centre: Int, radius: Float64, candidates: Float64) -> Bool:
        """bool [n, T]. A swap must only stay nearer than the person's own anchors; a miss must be far from all."""
        distance = np.linalg.norm(candidates[:, :, None] - self.points[rows][:, None], axis=-1)
        anchor = np.arange(self.valid.shape[1])
        matters = self.valid[rows][:, None] & (anchor != centre[..., None])
        matters &= (status != SWAP)[:, None, None] | (anchor < 2)
        limit = np.where((status == MISS)[:, None], self.radii[rows, 1][:, None], radius)
        return np.asarray((~matters | (distance > limit[..., None])).all(-1))


def _choice(weights: Float64, rng: np.random.Generator) -> Int:
    """One column per row of ``weights`` [n, m], drawn in proportion."""
    edges = weights.cumsum(1)
    drawn = rng.random((len(weights), 1)) * edges[:, -1:]
    return np.asarray((drawn >= edges).sum(1))


def _group(name: str) -> int:
    part = name.removeprefix("left_").removeprefix("right_")
    return _GROUPS.get(part, _HIP)

"""Candidate centres of synthetic errors, and the search for points round them that the rules allow."""

from itertools import chain, repeat

import numpy as np

from posefix_track.error_classes import GOOD, INVERSION, JITTER, MISS, SWAP
from posefix_track.keypoints import KeypointSet
from posefix_track.synthesis_model import ErrorModel
from posefix_track.synthesis_rules import (
    Bool,
    Float64,
    Int,
    People,
    SynthesisRules,
    similarity_distance,
)

# Points that the released code tries for a status round each of its anchors before it calls the status unavailable.
_TRIES = np.array([125, 500, 500, 500, 2000])
# Most first tries succeed, so few points are tried at first, and many only where it is hard.
_ROUNDS = (1, 1, 2, 4, 8, 16, 32, 64, 128, 256)
# Point-anchor pairs worked on at a time; their arrays then stay in the processor's cache.
_BLOCK = 1 << 17


class Anchors:
    """Candidate centres of every joint, N = B * K columns of A anchors: truth, partner, swaps, swapped partners.

    The rejection rules are geometric: a point must be nearer to its own anchor than to those that its status forbids.
    """

    def __init__(self, people: People, keypoints: KeypointSet, rules: SynthesisRules, model: ErrorModel | None) -> None:
        flip = keypoints.flip_index
        paired = flip != np.arange(len(keypoints))
        partner_labelled = (people.labelled[:, flip] & paired)[None]
        near, near_labelled = people.near.swapaxes(0, 1), people.near_labelled.swapaxes(0, 1)
        points = np.concatenate([people.base[None], people.base[None, :, flip], near, near[:, :, flip]])
        valid = [np.ones_like(partner_labelled), partner_labelled, near_labelled, near_labelled[:, :, flip] & paired]
        self.points = points.reshape(len(points), -1, 2)
        self.valid = np.concatenate(valid).reshape(len(points), -1)
        self.own = self._own_anchors(rules)
        similarities = (0.85, 0.5, 0.1)
        self.radii = np.stack([similarity_distance(k, keypoints.sigmas, people.area).ravel() for k in similarities])
        self.unit = similarity_distance(np.exp(-0.5), keypoints.sigmas, people.area).ravel()
        self.joint = np.tile(np.arange(len(keypoints)), len(people.area))
        self.partner = (np.arange(len(self.joint)).reshape(-1, len(keypoints))[:, flip]).ravel()
        self.rules, self.model = rules, model

    def _own_anchors(self, rules: SynthesisRules) -> Bool:
        """bool [A, N]: anchors that swaps have to keep away from rather than lie at."""
        own = np.zeros(self.valid.shape, bool)
        own[:2] = True
        if rules.first_swapped_partner_repels and len(own) > 2:
            swapped = self.valid[(len(own) + 2) // 2 :]
            first = swapped & (swapped.cumsum(0) == 1)
            own[(len(own) + 2) // 2 :] = first & ~self.valid[1]
        return own

    def move_partners(self, rows: Int, position: Float64) -> None:
        """Let the joints ``rows`` see their partners at ``position`` [N, 2]."""
        self.points[1, rows] = position[self.partner[rows]]

    def available(self) -> Bool:
        """bool [N, 5]: statuses that have an anchor at all."""
        always = np.ones(self.valid.shape[1], bool)
        return np.stack([always, always, self.valid[1], (self.valid & ~self.own).any(0), always], 1)

    def place(self, rows: Int, status: Int, rng: np.random.Generator) -> tuple[Bool, Float64]:
        """A point that obeys the rules for each row: whether one was found, and where, [n] and [n, 2]."""
        found, points = np.zeros(len(rows), bool), np.zeros((len(rows), 2))
        left = self._tries(rows, status)
        for tries in chain(_ROUNDS, repeat(_ROUNDS[-1])):
            searching = np.flatnonzero(~found & (left > 0))
            if not len(searching):
                break
            step = max(1, _BLOCK // (tries * len(self.valid)))
            for part in (searching[i : i + step] for i in range(0, len(searching), step)):
                allowed, candidates = self._propose(rows[part], status[part], tries, rng)
                first = allowed.argmax(1)
                pick = (np.arange(len(part)), first)
                found[part] = allowed[pick] & (first < left[part])
                points[part] = candidates[:, *pick].T
            left[searching] -= tries
        return found, points

    def _tries(self, rows: Int, status: Int) -> Int:
        """[n]: how many points the released code tries in all."""
        swaps = (self.valid & ~self.own).sum(0)[rows]
        anchors = np.where(status == MISS, self.valid.sum(0)[rows], np.where(status == SWAP, swaps, 1))
        return np.asarray(_TRIES[status] * anchors)

    def _propose(self, rows: Int, status: Int, tries: int, rng: np.random.Generator) -> tuple[Bool, Float64]:
        """``tries`` points round drawn anchors for each row: which the rules allow, and where, [n, T], [2, n, T]."""
        centre = self._centres(rows, status, tries, rng)
        radius = self._radius(rows, status, tries, rng)
        angle = rng.random(radius.shape) * (2 * np.pi)
        around = self.points[centre, rows[:, None]]
        candidates = np.stack([around[..., 0] + radius * np.cos(angle), around[..., 1] + radius * np.sin(angle)])
        return self._allowed(rows, status, centre, radius, candidates), candidates

    def _centres(self, rows: Int, status: Int, tries: int, rng: np.random.Generator) -> Int:
        """Which anchor each point lies round, [n, T]; for a miss the truth counts four times as much as any other."""
        centre = np.repeat((status == INVERSION).astype(np.int64)[:, None], tries, 1)
        pooled = np.flatnonzero((status == SWAP) | (status == MISS))
        if not len(pooled):
            return centre
        of, miss = rows[pooled], status[pooled] == MISS
        weights = np.where(miss, self.valid[:, of] * 0.25, self.valid[:, of] & ~self.own[:, of])
        weights[0, miss] = 1
        edges = weights.cumsum(0)
        drawn = rng.random((len(pooled), tries)) * edges[-1, :, None]
        centre[pooled] = sum(drawn >= edge[:, None] for edge in edges[:-1])
        return centre

    def _radius(self, rows: Int, status: Int, tries: int, rng: np.random.Generator) -> Float64:
        """Distances from the centre, [n, T]: uniform between the status's limits, or as the error model has it."""
        if self.model is not None:
            similarity = self.model.draw_similarity(self.joint[rows], status, tries, rng)
            return np.asarray(self.unit[rows, None] * np.sqrt(-2 * np.log(similarity)))
        r85, r50, r10 = self.radii[:, rows]
        apart = (status == JITTER) | (((status == INVERSION) | (status == SWAP)) & self.rules.paper_radii)
        near = np.where(apart, r85, np.where(status == MISS, r50, 0.0))
        far = np.where(status == GOOD, r85, np.where(status == MISS, r10, r50))
        return np.asarray(near[:, None] + (far - near)[:, None] * rng.random((len(rows), tries)))

    def _allowed(self, rows: Int, status: Int, centre: Int, radius: Float64, candidates: Float64) -> Bool:
        """bool [n, T]. A swap must only stay nearer than the person's own anchors; a miss must be far from all."""
        limit = radius
        if self.model is None:
            limit = np.where((status == MISS)[:, None], self.radii[1, rows, None], radius)
        limit = limit**2
        allowed = np.ones(centre.shape, bool)
        for anchor in range(len(self.valid)):
            matters = self.valid[anchor, rows] & ((status != SWAP) | self.own[anchor, rows])
            if not matters.any():
                continue
            x, y = self.points[anchor, rows, :, None].swapaxes(0, 1)
            apart = (candidates[0] - x) ** 2 + (candidates[1] - y) ** 2 > limit
            allowed &= apart | (centre == anchor) | ~matters[:, None]
        return allowed

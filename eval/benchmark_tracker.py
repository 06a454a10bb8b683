"""Simulated trackers: what trackers of several qualities might have found of drawn people.

Errors of joints follow ``posefix_track.synthesis``. On top come people who are not found, false people, changes of
identity, and joints whose score is too low to be reported.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.error_classes import GOOD
from posefix_track.figures import FigureFrame
from posefix_track.keypoints import UNION_19
from posefix_track.synthesis import People, status_probabilities, synthesise

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

# Mean score of each status as a logit: good, jitter, inversion, swap, miss. The noise of a tracker's scores makes
# them overlap.
_SCORE = np.array([1.8, 0.7, 0.5, 0.3, -0.6])
_HIDDEN_SCORE = -0.9
# Joints below this score are not reported: what trackers do for the sake of MOTA.
_LEAST_SCORE = 0.3
# Hidden joints go wrong more often, but some of all joints always stay good.
_HIDDEN_ERRORS = 1.6
_MOST_ERRORS = 0.9


@dataclass(frozen=True)
class Quality:
    """How good a tracker is.

    Attributes:
        errors: factor on the published rates of jitter, inversion, swap and miss.
        spread: factor on the distances at which joints of each status lie.
        missed: share of people in full view who are not found; hidden people are missed more often.
        ghosts: false people a frame, on average.
        switches: probability that a person's identity changes between two frames.
        score_noise: standard deviation of joint scores, as logits.
    """

    errors: float
    spread: float
    missed: float
    ghosts: float
    switches: float
    score_noise: float


TRACKERS = {
    "weak": Quality(errors=1.3, spread=0.75, missed=0.1, ghosts=0.3, switches=0.02, score_noise=1.2),
    "medium": Quality(errors=0.9, spread=0.65, missed=0.06, ghosts=0.2, switches=0.01, score_noise=1.0),
    "strong": Quality(errors=0.6, spread=0.55, missed=0.03, ghosts=0.1, switches=0.005, score_noise=0.8),
}


@dataclass(frozen=True)
class Detections:
    """The people whom a tracker reports in one frame.

    Attributes:
        keypoints: float64 [N, 19, 2], image pixels in the order of UNION_19.
        scores: float64 [N, 19] in (0, 1); 0 for a joint that is not reported.
        track_ids: N ids, each once.
    """

    keypoints: Float64
    scores: Float64
    track_ids: tuple[int, ...]


def track(frames: Iterable[FigureFrame], quality: Quality, rng: np.random.Generator) -> Iterator[Detections]:
    """Follow the drawn people through a clip; the pictures are not looked at."""
    identities = _Identities(quality.switches, rng)
    for frame in frames:
        near = _near(frame.bbox_xyxy.astype(np.float64))
        keypoints, status = _poses(frame, near, quality, rng)
        scores = _scores(status, frame.visible, quality, rng)
        ids = identities.step(near)
        hidden = 1 - frame.visible.mean(1)
        found = rng.random(len(hidden)) >= quality.missed + (1 - quality.missed) * hidden**2
        ghosts, ghost_scores = _ghosts(frame, quality, rng)
        yield Detections(
            np.concatenate([keypoints[found], ghosts]),
            np.concatenate([scores[found], ghost_scores]),
            (*ids[found].tolist(), *(identities.new() for _ in ghosts)),
        )


class _Identities:
    """Track ids that now and then change: with somebody near by, or for a new one."""

    def __init__(self, switches: float, rng: np.random.Generator) -> None:
        self._switches, self._rng = switches, rng
        self._ids: Int = np.arange(0)
        self._used = 0

    def new(self) -> int:
        self._used += 1
        return self._used - 1

    def step(self, near: Bool) -> Int:
        """int64 [N]: the ids of the next frame's people; ``near`` [N, N]."""
        while len(self._ids) < len(near):
            self._ids = np.append(self._ids, self.new())
        for person in np.flatnonzero(self._rng.random(len(near)) < self._switches):
            others = np.flatnonzero(near[person])
            if len(others):
                pair = [person, self._rng.choice(others)]
                self._ids[pair] = self._ids[pair[::-1]]
            else:
                self._ids[person] = self.new()
        return self._ids.copy()


def _near(bbox_xyxy: Float64) -> Bool:
    """bool [N, N]: whose boxes overlap."""
    low, high = bbox_xyxy[:, :2], bbox_xyxy[:, 2:]
    overlap = (np.maximum(low[:, None], low) < np.minimum(high[:, None], high)).all(-1)
    return np.asarray(overlap & ~np.eye(len(low), dtype=bool))


def _poses(frame: FigureFrame, near: Bool, quality: Quality, rng: np.random.Generator) -> tuple[Float64, Int]:
    """Poses with errors, float64 [N, 19, 2], and the status of each joint [N, 19]."""
    truth, visible = frame.keypoints.astype(np.float64), frame.visible
    count = len(truth)
    others = np.array([[j for j in range(count) if j != i] for i in range(count)], int).reshape(count, count - 1)
    near_labelled = visible[others] & np.take_along_axis(near, others, 1)[..., None]
    area = (frame.bbox_xyxy[:, 2:] - frame.bbox_xyxy[:, :2]).astype(np.float64).prod(1)
    people = People(truth, visible, truth[others], near_labelled, area * quality.spread**2)
    poses, status = synthesise(people, UNION_19, rng, _probabilities(visible, near, quality))
    return poses, np.where(status < 0, GOOD, status)


def _probabilities(visible: Bool, near: Bool, quality: Quality) -> Float64:
    """float64 [N, 19, 5]: the published rates, scaled."""
    published = status_probabilities(UNION_19, visible.sum(1), near.sum(1))
    errors = published[..., 1:] * quality.errors * np.where(visible, 1.0, _HIDDEN_ERRORS)[..., None]
    total = errors.sum(-1, keepdims=True)
    errors *= np.minimum(1, _MOST_ERRORS / np.maximum(total, 1e-9))
    return np.concatenate([1 - errors.sum(-1, keepdims=True), errors], -1)


def _scores(status: Int, visible: Bool, quality: Quality, rng: np.random.Generator) -> Float64:
    logits = _SCORE[status] + np.where(visible, 0, _HIDDEN_SCORE) + rng.normal(0, quality.score_noise, status.shape)
    scores = 1 / (1 + np.exp(-logits))
    return np.where(scores < _LEAST_SCORE, 0.0, scores)


def _ghosts(frame: FigureFrame, quality: Quality, rng: np.random.Generator) -> tuple[Float64, Float64]:
    """False people: poses of real ones, smaller and somewhere else, with low scores."""
    count = int(rng.poisson(quality.ghosts))
    poses = frame.keypoints[rng.integers(len(frame.keypoints), size=count)].astype(np.float64)
    places = rng.random((count, 1, 2)) * (frame.image.shape[1], frame.image.shape[0])
    shrunk = (poses - poses.mean(1, keepdims=True)) * rng.uniform(0.4, 1, (count, 1, 1))
    wrong = np.full(poses.shape[:2], len(_SCORE) - 1)
    return shrunk + places, _scores(wrong, np.ones(wrong.shape, bool), quality, rng)

"""How often a real tracker errs, and by how much: replaces the published probabilities and radii of synthesis."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from posefix_track.error_classes import ERROR_CLASSES, GOOD_FROM, MISS_BELOW
from posefix_track.errors import InputError
from posefix_track.keypoints import KeypointSet
from posefix_track.synthesis_rules import Float64, Int

KS_BINS = 50
# KS that each status can have: of the joint it lies at; for a miss, of the nearest joint that it could be taken for.
KS_LIMITS = np.array(
    [[GOOD_FROM, 1.0], [MISS_BELOW, GOOD_FROM], [MISS_BELOW, 1.0], [MISS_BELOW, 1.0], [0.0, MISS_BELOW]]
)


@dataclass(frozen=True)
class ErrorModel:
    """Errors of one tracker. Published numbers are ``posefix_track.synthesis_rules.status_probabilities``.

    Attributes:
        keypoints: what the K joints are.
        visible_from: least number of labelled joints of each of V bands, ascending from 0.
        frequencies: float64 [V, K, 5], of the statuses, each row adding up to 1.
        absent: float64 [V, K], share of joints that the tracker does not give at all.
        similarity: float64 [K, 5, 50], share of each bin of KS in [0, 1] within a status, each row adding up to 1.

    Raises:
        InputError: arrays of other shapes, shares below 0 or not adding up to 1.
    """

    keypoints: KeypointSet
    visible_from: tuple[int, ...]
    frequencies: Float64
    absent: Float64
    similarity: Float64

    def __post_init__(self) -> None:
        bands, joints = len(self.visible_from), len(self.keypoints)
        for name, column, shape in (
            ("frequencies", self.frequencies, (bands, joints, len(ERROR_CLASSES))),
            ("absent", self.absent, (bands, joints)),
            ("similarity", self.similarity, (joints, len(ERROR_CLASSES), KS_BINS)),
        ):
            if column.shape != shape:
                raise InputError(f"{name} of an error model must have shape {list(shape)}, got {list(column.shape)}")
            if not ((column >= 0) & (column <= 1 + 1e-6)).all():
                raise InputError(f"{name} of an error model must be shares in [0, 1]")
            if name != "absent" and not np.allclose(column.sum(-1), 1, atol=1e-6):
                raise InputError(f"{name} of an error model must add up to 1")
        if self.visible_from[:1] != (0,) or list(self.visible_from) != sorted(set(self.visible_from)):
            raise InputError(f"visible_from of an error model must ascend from 0, got {list(self.visible_from)}")

    def band(self, visible: Int) -> Int:
        """Band of people with these numbers of labelled joints, [B] -> [B]."""
        return np.asarray(np.searchsorted(self.visible_from, visible, side="right") - 1)

    def draw_similarity(self, joint: Int, status: Int, draws: int, rng: np.random.Generator) -> Float64:
        """KS in (0, 1] for n joints with their statuses, float64 [n, draws]; uniform within a bin."""
        edges = self._edges[joint, status]
        drawn = rng.random((len(joint), draws))
        bins = sum((drawn >= edge[:, None] for edge in edges.T[:-1]), np.zeros(drawn.shape, int))
        lowest, highest = KS_LIMITS[status].T[..., None]
        low = np.clip(bins / KS_BINS, lowest, highest)
        high = np.clip((bins + 1) / KS_BINS, lowest, highest)
        # 1 - random() is never 0, whose distance would be infinite.
        return np.asarray(low + (high - low) * (1 - rng.random(drawn.shape)))

    @cached_property
    def _edges(self) -> Float64:
        return np.asarray(self.similarity.cumsum(-1))

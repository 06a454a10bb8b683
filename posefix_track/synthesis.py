"""Synthetic pose errors with the statistics of real estimators (PoseFix, section 3; rules of the released code).

Each joint gets one of five statuses: good, jitter, inversion (left/right partner), swap (another person's joint) or
miss. Radii follow the keypoint similarity KS(d) = exp(-d^2 / (2 area (2 sigma)^2)). Anchors are the clean joints;
``SynthesisRules`` has the released code's quirks and the paper's radii, ``ErrorModel`` a real tracker's statistics.
"""

import numpy as np

from posefix_track.errors import InputError
from posefix_track.keypoints import KeypointSet
from posefix_track.synthesis_anchors import Anchors
from posefix_track.synthesis_model import ErrorModel
from posefix_track.synthesis_rules import (
    Float64,
    Int,
    People,
    SynthesisRules,
    similarity_distance,
    status_probabilities,
)

__all__ = [
    "ErrorModel",
    "People",
    "SynthesisRules",
    "similarity_distance",
    "status_probabilities",
    "synthesise",
]

_CLEAN = SynthesisRules()


def synthesise(
    people: People,
    keypoints: KeypointSet,
    rng: np.random.Generator,
    probabilities: Float64 | None = None,
    *,
    rules: SynthesisRules = _CLEAN,
    error_model: ErrorModel | None = None,
) -> tuple[Float64, Int]:
    """Draw an erroneous pose for each person.

    Args:
        people: B clean people with K joints.
        keypoints: the set that the K joints follow.
        rng: the only source of randomness.
        probabilities: [B, K, 5] in place of the published ones or the error model's.
        rules: quirks of the released code, and the paper's radii.
        error_model: statuses and distances of a real tracker in place of the published ones. A miss then only has to
            be nearest to the anchor it lies round, where the published rule has KS < .5 to all anchors.

    Returns:
        keypoints float64 [B, K, 2], and the status of each joint int64 [B, K]; status -1 where no status was possible
        (the joint then stays at its base).

    Raises:
        InputError: an error model of other joints than ``keypoints``.
    """
    if error_model is not None and error_model.keypoints != keypoints:
        raise InputError(f"expected an error model of {keypoints.name} joints, got {error_model.keypoints.name}")
    if probabilities is None:
        probabilities = _probabilities(people, keypoints, error_model)
    anchors = Anchors(people, keypoints, rules, error_model)
    remaining = np.where(anchors.available(), probabilities.reshape(-1, 5), 0.0)
    position, status = anchors.points[0].copy(), np.full(len(remaining), -1)
    later = anchors.partner < np.arange(len(status)) if rules.corrupted_partners else np.zeros(len(status), bool)
    for rows in (np.flatnonzero(~later), np.flatnonzero(later)):
        if rules.corrupted_partners:
            anchors.move_partners(np.flatnonzero(later), position)
        _draw(anchors, rows, remaining, position, status, rng)
    shape = people.labelled.shape
    return position.reshape(*shape, 2), status.reshape(shape)


def _probabilities(people: People, keypoints: KeypointSet, model: ErrorModel | None) -> Float64:
    visible = people.labelled.sum(1)
    if model is not None:
        return np.asarray(model.frequencies[model.band(visible)])
    return status_probabilities(keypoints, visible, people.near_labelled.any(2).sum(1))


def _draw(
    anchors: Anchors, rows: Int, remaining: Float64, position: Float64, status: Int, rng: np.random.Generator
) -> None:
    """Give every joint in ``rows`` its status and position, in place.

    Drawing a status, and another one where it proves impossible, equals the released code's renormalisation.
    """
    while len(rows := rows[remaining[rows].sum(1) > 0]):
        drawn = _choice(remaining[rows], rng)
        found, points = anchors.place(rows, drawn, rng)
        position[rows[found]], status[rows[found]] = points[found], drawn[found]
        remaining[rows[~found], drawn[~found]] = 0
        rows = rows[~found]


def _choice(weights: Float64, rng: np.random.Generator) -> Int:
    """One column per row of ``weights`` [n, m], drawn in proportion."""
    edges = weights.cumsum(1)
    drawn = rng.random(len(weights)) * edges[:, -1]
    return np.asarray(sum((drawn >= edge for edge in edges.T[:-1]), np.zeros(len(weights), int)))

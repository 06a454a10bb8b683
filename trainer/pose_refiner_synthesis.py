"""Erroneous input poses as PoseRefiner is trained on (Fieraru et al., CVPRW 2018): shift, swap, exchange, remove.

The sources at hand name the four transformations only. **Every number and the order are our choice**: partners and
other people's joints first, then the shift, so that a taken joint is not exact either; removal last.
"""

from dataclasses import dataclass

import numpy as np

from posefix_track.keypoints import KeypointSet
from posefix_track.synthesis import People
from posefix_track.synthesis_rules import Bool, Float64


@dataclass(frozen=True)
class Transformations:
    """Probabilities, and lengths in units of the square root of the person's box area; all our choice.

    Attributes:
        near: longest ordinary shift; 0.15 is where PoseFix's jitter of a wrist ends.
        far: longest shift at all; far_share: share of joints shifted by more than ``near``.
        exchange: that a pair's left and right joints trade places.
        swap: that a joint moves to another person's joint of the same kind, where one is near by.
        remove: that a joint is missing.
    """

    near: float = 0.15
    far: float = 0.7
    far_share: float = 0.1
    exchange: float = 0.1
    swap: float = 0.2
    remove: float = 0.15


DEFAULT = Transformations()


def transform_poses(
    people: People, keypoints: KeypointSet, rng: np.random.Generator, rules: Transformations = DEFAULT
) -> tuple[Float64, Bool]:
    """Poses [B, K, 2] in the frame of ``people``, and bool [B, K], which joints are left.

    Args:
        people: B clean people with K joints.
        keypoints: the set that the K joints follow.
        rng: source of all randomness.
        rules: how much of each transformation.
    """
    poses = _exchanged(people.base, keypoints, rng, rules.exchange)
    poses = _swapped(poses, people, rng, rules.swap)
    kept = rng.random(poses.shape[:2]) >= rules.remove
    return poses + _shifts(people.area, poses.shape[1], rng, rules), kept


def _exchanged(base: Float64, keypoints: KeypointSet, rng: np.random.Generator, probability: float) -> Float64:
    partner = keypoints.flip_index
    # Both joints of a pair follow the draw of its first one.
    pair = np.minimum(np.arange(len(partner)), partner)
    chosen = (rng.random(base.shape[:2]) < probability)[:, pair]
    return np.where(chosen[..., None], base[:, partner], base)


def _swapped(poses: Float64, people: People, rng: np.random.Generator, probability: float) -> Float64:
    others = people.near.shape[1]
    if not others:
        return poses
    # The labelled one with the largest random number, so that each is as likely.
    order = np.where(people.near_labelled, rng.random(people.near_labelled.shape), -1.0)
    which = order.argmax(1)
    theirs = np.take_along_axis(people.near, which[:, None, :, None], 1)[:, 0]
    chosen = people.near_labelled.any(1) & (rng.random(poses.shape[:2]) < probability)
    return np.where(chosen[..., None], theirs, poses)


def _shifts(area: Float64, joints: int, rng: np.random.Generator, rules: Transformations) -> Float64:
    shape = (len(area), joints)
    angle = rng.random(shape) * (2 * np.pi)
    far = rng.random(shape) < rules.far_share
    share = rng.random(shape)
    length = np.where(far, rules.near + share * (rules.far - rules.near), share * rules.near)
    length = length * np.sqrt(area)[:, None]
    return np.stack([length * np.cos(angle), length * np.sin(angle)], -1)

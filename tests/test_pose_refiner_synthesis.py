"""Shift, swap, exchange and remove."""

from dataclasses import replace

import numpy as np
import pytest

from posefix_track.keypoints import COCO_17
from posefix_track.synthesis import People
from trainer.pose_refiner_synthesis import Transformations, transform_poses

NOTHING = Transformations(0, 0, 0, 0, 0, 0)
PEOPLE = 2000


def crowd(near: int = 2) -> People:
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 100, (PEOPLE, 17, 2))
    others = rng.uniform(1000, 2000, (PEOPLE, near, 17, 2))
    labelled = rng.random((PEOPLE, near, 17)) < 0.7
    return People(base, np.ones((PEOPLE, 17), bool), others, labelled, rng.uniform(400, 10000, PEOPLE))


def transformed(people: People, **rules: float) -> tuple[np.ndarray, np.ndarray]:
    return transform_poses(people, COCO_17, np.random.default_rng(1), replace(NOTHING, **rules))


@pytest.mark.parametrize("near", [0, 2])
def test_without_transformations_the_pose_stays(near: int) -> None:
    people = crowd(near)
    poses, kept = transformed(people)
    np.testing.assert_array_equal(poses, people.base)
    assert kept.all()


def test_shifts_have_the_lengths_and_shares_asked_for() -> None:
    people = crowd()
    poses, _ = transformed(people, near=0.1, far=0.5, far_share=0.25)
    length = np.linalg.norm(poses - people.base, axis=-1) / np.sqrt(people.area)[:, None]
    assert length.max() <= 0.5 + 1e-9
    # 34,000 joints: three standard errors of a share of a quarter are 0.007.
    assert abs((length > 0.1).mean() - 0.25) < 0.01
    assert abs(length[length <= 0.1].mean() - 0.05) < 0.001
    assert abs(length[length > 0.1].mean() - 0.3) < 0.006


def test_shifts_go_everywhere() -> None:
    people = crowd()
    poses, _ = transformed(people, near=0.1)
    x, y = (poses - people.base).reshape(-1, 2).T
    quarters = np.bincount(2 * (x > 0) + (y > 0), minlength=4) / x.size
    np.testing.assert_allclose(quarters, 0.25, atol=0.01)


def test_left_and_right_trade_places_together() -> None:
    people = crowd()
    poses, _ = transformed(people, exchange=0.3)
    partner = COCO_17.flip_index
    moved = (poses != people.base).any(-1)
    assert (moved == moved[:, partner]).all()
    np.testing.assert_array_equal(poses[moved], people.base[:, partner][moved])
    paired = partner != np.arange(17)
    assert not moved[:, ~paired].any()
    assert abs(moved[:, paired].mean() - 0.3) < 0.015  # 16,000 pairs


def test_joints_move_to_labelled_ones_of_the_same_kind_of_people_near_by() -> None:
    people = crowd()
    poses, _ = transformed(people, swap=0.4)
    moved = (poses != people.base).any(-1)
    taken = (poses[:, None] == people.near).all(-1) & people.near_labelled
    assert (taken.any(1) == moved).all()
    possible = people.near_labelled.any(1)
    assert not moved[~possible].any()
    assert abs(moved[possible].mean() - 0.4) < 0.01
    both = moved & people.near_labelled.all(1)
    assert abs(taken[:, 0][both].mean() - 0.5) < 0.02


def test_joints_are_removed_as_often_as_asked_for() -> None:
    _, kept = transformed(crowd(), remove=0.15)
    assert abs(kept.mean() - 0.85) < 0.006


def test_the_same_seed_gives_the_same_poses() -> None:
    one, other = (transform_poses(crowd(), COCO_17, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

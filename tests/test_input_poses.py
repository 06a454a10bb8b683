from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix_track.keypoints import UNION_19
from tests.training_data import NO_GAPS, TRUTH, dotted, person, recipe, write_training_data
from trainer.columns import stacked
from trainer.datasets import load_dataset
from trainer.input_poses import input_poses
from trainer.people import Person
from trainer.recipe import SynthesisConfig


@pytest.fixture
def people(tmp_path: Path) -> list[Person]:
    write_training_data(tmp_path)
    return list(load_dataset(recipe().data[0], tmp_path).people)


def poses_of(people: list[Person], config: SynthesisConfig) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return input_poses(stacked(people, rng), config, rng)


def test_inputs_are_the_other_estimators_where_asked_for(people: list[Person]) -> None:
    poses, present = poses_of(people, TRUTH)
    for pose, has, one in zip(poses, present, people, strict=True):
        if len(one.estimates):
            np.testing.assert_array_equal(pose, one.estimates[0])
            np.testing.assert_array_equal(has, one.estimated[0])
        else:
            np.testing.assert_array_equal(has, one.labelled)
            assert not np.array_equal(pose[has], one.keypoints[has])


def test_each_of_several_estimates_is_drawn() -> None:
    one, _ = dotted()
    several = replace(one, estimates=np.stack([one.keypoints + i for i in range(3)]), estimated=np.ones((3, 19), bool))
    poses, _ = poses_of([several] * 300, TRUTH)
    drawn = (poses - one.keypoints)[:, 0, 0].round().astype(int)
    assert (np.bincount(drawn, minlength=3) > 60).all()  # 100 each, five standard errors


def test_inputs_are_the_truth_as_often_as_asked_for() -> None:
    people = [person(np.random.default_rng(0).random((19, 2)) * 100)] * 1000
    poses, _ = poses_of(people, replace(NO_GAPS, exact_share=0.2))
    exact = (poses == people[0].keypoints).all((1, 2))
    assert abs(exact.mean() - 0.2) < 0.06  # five standard errors


def test_joints_without_any_position_are_absent(people: list[Person]) -> None:
    _, present = poses_of(people, NO_GAPS)
    known = [one.labelled | (one.estimated[0] if len(one.estimated) else False) for one in people]
    np.testing.assert_array_equal(present, known)


def test_a_person_always_keeps_a_joint() -> None:
    few = np.zeros(19, bool)
    few[5] = True
    people = [person(np.random.default_rng(0).random((19, 2)), few)] * 200
    _, present = poses_of(people, SynthesisConfig(absent=0.9))
    assert present.any(1).all()
    assert not present[:, ~few].any()


def test_the_head_is_absent_as_often_as_asked_for() -> None:
    people = [person(np.random.default_rng(0).random((19, 2)) * 100)] * 2000
    _, present = poses_of(people, replace(NO_GAPS, absent_head=0.5))
    ends = present[:, [UNION_19.index["head_bottom"], UNION_19.index["head_top"]]]
    assert (ends[:, 0] == ends[:, 1]).all()
    assert abs(ends.mean() - 0.5) < 0.05  # four standard errors
    assert present[:, :17].all()

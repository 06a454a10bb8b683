"""Every ablation and baseline from its recipe to refined poses, and the script that compares them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import baselines
from benchmarks.baselines import RECIPES, Validation, percent, refined, table
from engines import compile_engine
from engines.benchmark import random_inputs
from posefix_track.network import PoseFix
from posefix_track.refiner import PoseRefiner
from posefix_track.weights import Weights, load_weights
from tests.training_data import PICTURES, recipe, write_training_data
from trainer.recipe import Recipe, read_recipe
from trainer.train import train

SIZE = (64, 32)


def small(name: str) -> Recipe:
    """The recipe with the test set's data, two steps and a network that takes milliseconds."""
    whole = read_recipe(RECIPES[name])
    return recipe(
        network=replace(whole.network, input_size=SIZE, head_channels=(16, 16, 16)),
        train=replace(whole.train, steps=2, batch_size=3, warmup_steps=1),
        synthesis=whole.synthesis,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_training_data(folder)
    return folder


def test_the_recipes_are_the_papers_ablations_and_two_baselines() -> None:
    assert set(RECIPES) == {"c2f", "f2f", "c2c", "heatmap_only", "coordinate_only", "integral_pose", "pose_refiner"}
    c2f = read_recipe(RECIPES["c2f"])
    for name in RECIPES:
        other = read_recipe(RECIPES[name])
        # Same data, same budget.
        assert (other.data, other.augment, other.rendered) == (c2f.data, c2f.augment, c2f.rendered)
        weights = {"heatmap_weight": 1.0, "coordinate_weight": 1.0}
        assert replace(other.train, **weights) == replace(c2f.train, **weights)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_saves_loads_and_refines(name: str, root: Path) -> None:
    average = train(small(name), root, root / name, workers=0)
    weights = load_weights(root / name / "weights.safetensors")
    assert weights.network.config == average.config
    assert weights.info["steps"] == 2
    kept, stored = average.head.final.weight, weights.network.head.final.weight
    assert torch.equal(kept.detach().half().float(), stored)
    picture = np.random.default_rng(0).integers(0, 256, (120, 80, 3)).astype(np.uint8)
    pose = np.random.default_rng(1).uniform(20, 60, (3, 17, 2)).astype(np.float32)
    poses = PoseRefiner(weights, engine="torch", device="cpu", gate=False)(picture, pose)
    assert poses.considered.all() and np.isfinite(poses.keypoints).all()
    assert (poses.shift > 0.1).any()


# The other recipes' networks are that of c2f.
@pytest.mark.parametrize("name", ["c2f", "f2f", "c2c", "integral_pose", "pose_refiner"])
def test_engines_agree_on_every_kind_of_network(name: str) -> None:
    torch.manual_seed(0)
    network = PoseFix(small(name).network).eval()
    # Maps with clear maxima, as a trained network has them.
    network.head.final.weight.data.normal_()
    inputs = random_inputs(3, SIZE, 19)
    one, other = (compile_engine(network, SIZE, 19, engine, "cpu")(*inputs) for engine in ("torch", "openvino"))
    # Crop pixels, and similarity; kernels of the two sum in another order.
    np.testing.assert_allclose(one[0], other[0], atol=0.05)
    np.testing.assert_allclose(one[1], other[1], atol=1e-3)


@pytest.mark.parametrize("name", RECIPES)
def test_only_integral_pose_does_without_the_input_pose(name: str) -> None:
    network = PoseFix(small(name).network).eval()
    images, keypoints, present = (torch.from_numpy(a) for a in random_inputs(2, SIZE, 19))
    with torch.inference_mode():
        one, other = network(images, keypoints, present), network(images, keypoints.flip(0) + 3, ~present)
    assert torch.equal(one[0], other[0]) == (name == "integral_pose")


# The comparison


def test_results_keep_everything_but_positions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    average = PoseFix(small("c2f").network).eval()
    validation = validation_set(root)
    refiner = PoseRefiner(Weights(average, {}, ""), engine="torch", device="cpu", gate=False)
    before, after = (refined(validation, root, r) for r in (_Unchanged(), refiner))  # type: ignore[arg-type]
    assert len(before) == len(after) == PICTURES
    for one, other in zip(before, after, strict=True):
        assert {**one, "keypoints": 0} == {**other, "keypoints": 0}
        old, new = (np.reshape(result["keypoints"], (17, 3)) for result in (one, other))
        np.testing.assert_array_equal(old[:, 2], new[:, 2])
        assert (old[:, :2] != new[:, :2]).any()


@pytest.mark.parametrize("measure", ["AP", "PCK"])
def test_perfect_poses_score_100(root: Path, measure: str) -> None:
    validation = replace(validation_set(root), measure=measure)
    assert percent(validation, root, refined(validation, root, _Unchanged())) == pytest.approx(100)  # type: ignore[arg-type]


def test_the_table_has_a_row_a_network_and_a_pair_of_numbers_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "VALIDATIONS", {"A": None, "B": None})
    rows = {"c2f": {"A, no gate": 1.04, "A, gate": 2.0, "B, no gate": 3.0, "B, gate": 4.0}}
    lines = table({"A": 50.0, "B": 60.0}, rows).splitlines()
    assert lines == ["| | A | B |", "|---|---|---|", "| estimator | 50.0 | 60.0 |", "| c2f | 1.0, 2.0 | 3.0, 4.0 |"]


class _Unchanged:
    """A refiner that leaves every joint where it is."""

    def __call__(self, frame: np.ndarray, keypoints: np.ndarray) -> "_Unchanged":
        self.keypoints = keypoints[..., :2]
        return self


def validation_set(root: Path) -> Validation:
    """The training set, with its truth as the estimator's poses."""
    truth = json.loads((root / "people.json").read_text())
    for annotation in truth["annotations"]:
        annotation["num_keypoints"] = 12
    (root / "truth.json").write_text(json.dumps(truth))
    poses = [
        {"image_id": a["image_id"], "category_id": 1, "score": 0.5, "keypoints": a["keypoints"]}
        for a in truth["annotations"]
    ]
    (root / "poses.json").write_text(json.dumps(poses))
    return Validation("truth.json", "poses.json", ("pictures", "shard.tar"), "AP")

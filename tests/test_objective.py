"""Losses of the ablations and baselines beside slow ones, and which of them a recipe asks for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from posefix_track.decoding import scores_and_offsets
from posefix_track.errors import InputError
from posefix_track.network import STRIDE, NetworkConfig, PoseFix
from tests.training_data import NO_AUGMENTATION, recipe, write_training_data
from trainer.losses import gaussian_loss, offset_loss, score_loss
from trainer.objective import training_step
from trainer.recipe import Recipe, SynthesisConfig, TrainConfig, read_recipe
from trainer.samples import Batch
from trainer.train import load_samples

SIZE = (16, 12)
RADIUS, UNIT = 1.6, 0.7


def random_case(channels: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, channels, *SIZE, generator=generator)
    targets = torch.rand(2, 5, 2, generator=generator) * torch.tensor([44.0, 60.0])
    valid = torch.rand(2, 5, generator=generator) > 0.4
    return outputs.requires_grad_(), targets, valid


def from_cells(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps across and down from every cell to a target in crop pixels."""
    y, x = np.indices(SIZE)
    return target[0] / STRIDE - x, target[1] / STRIDE - y


def test_the_gaussian_loss_equals_a_slow_sum() -> None:
    heatmaps, targets, valid = random_case()
    slow = []
    for b, k in valid.nonzero().tolist():
        dx, dy = from_cells(targets[b, k].double().numpy())
        target = np.exp(-(dx**2 + dy**2) / (2 * RADIUS**2))
        slow.append(((heatmaps[b, k].detach().double().numpy() - target) ** 2).sum())
    assert abs(gaussian_loss(heatmaps, targets, valid, RADIUS).item() / np.mean(slow) - 1) < 1e-5  # float32


def test_the_score_loss_equals_a_slow_sum() -> None:
    scores, targets, valid = random_case()
    slow = []
    for b, k in valid.nonzero().tolist():
        near = np.hypot(*from_cells(targets[b, k].double().numpy())) <= RADIUS
        probability = torch.sigmoid(scores[b, k].detach().double()).numpy()
        slow.append(-np.log(np.where(near, probability, 1 - probability)).mean())
    assert abs(score_loss(scores, targets, valid, RADIUS).item() - np.mean(slow)) < 1e-5  # float32


def test_the_offset_loss_equals_a_slow_sum() -> None:
    outputs, targets, valid = random_case(15)
    _, offsets = scores_and_offsets(outputs)
    slow: list[float] = []
    for b, k in valid.nonzero().tolist():
        steps = from_cells(targets[b, k].double().numpy())
        near = np.hypot(*steps) <= RADIUS
        for axis in (0, 1):
            error = np.abs(offsets[b, k, axis].detach().double().numpy() - steps[axis] / UNIT)[near]
            slow += np.where(error < 1, error**2 / 2, error - 0.5).tolist()
    assert len(slow) > 20
    assert abs(offset_loss(offsets, targets, valid, RADIUS, UNIT).item() - np.mean(slow)) < 1e-5  # float32


def test_perfect_offsets_and_gaussians_cost_nothing() -> None:
    _, targets, valid = random_case()
    steps = np.array([[from_cells(target) for target in person] for person in targets.double().numpy()])
    offsets = torch.from_numpy(steps / UNIT).float()
    assert offset_loss(offsets, targets, valid, RADIUS, UNIT).item() < 1e-10
    gaussians = torch.from_numpy(np.exp(-(steps**2).sum(2) / (2 * RADIUS**2))).float()
    assert gaussian_loss(gaussians, targets, valid, RADIUS).item() < 1e-9


@pytest.mark.parametrize("name", ["gaussian", "score", "offset"])
def test_joints_that_are_not_known_give_no_gradient(name: str) -> None:
    outputs, targets, valid = random_case(15 if name == "offset" else 5)
    targets = torch.where(valid[..., None], targets, torch.tensor(-1e6))
    if name == "offset":
        outputs = outputs[:, 5:].unflatten(1, (5, 2)).detach().requires_grad_()
        offset_loss(outputs, targets, valid, RADIUS, UNIT).backward()
    else:
        (gaussian_loss if name == "gaussian" else score_loss)(outputs, targets, valid, RADIUS).backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()
    assert not outputs.grad[~valid].any()
    assert outputs.grad[valid].flatten(1).abs().sum(1).min() > 0


# Which losses a step has


@pytest.fixture(scope="module")
def settings_and_batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Batch]:
    root = tmp_path_factory.mktemp("data")
    write_training_data(root)
    settings = recipe(augment=NO_AUGMENTATION)
    return settings, load_samples(settings, root)[0]


@pytest.mark.parametrize(
    ("output", "weights", "names"),
    [
        ("soft_argmax", (1, 1, 0), {"heatmap", "coordinate"}),
        ("soft_argmax", (1, 0, 0), {"heatmap"}),
        ("soft_argmax", (0, 1, 2), {"coordinate", "similarity"}),
        ("argmax", (1, 1, 0), {"heatmap"}),
        ("offsets", (1, 1, 0), {"heatmap", "coordinate"}),
        ("offsets", (1, 0, 0), {"heatmap"}),
    ],
)
def test_a_step_has_the_losses_that_weigh_something(
    settings_and_batch: tuple[Recipe, Batch], output: str, weights: tuple[float, float, float], names: set[str]
) -> None:
    settings, batch = settings_and_batch
    heatmap, coordinate, similarity = weights
    config = replace(settings.train, heatmap_weight=heatmap, coordinate_weight=coordinate, similarity_weight=similarity)
    network = PoseFix(replace(settings.network, output=output))
    losses = training_step(network, batch, config)
    assert set(losses) == names | {"confidence"}
    sum(losses[name] for name in names).backward()
    assert network.backbone.features[0][0].weight.grad.any()


def test_weights_scale_their_losses(settings_and_batch: tuple[Recipe, Batch]) -> None:
    settings, batch = settings_and_batch
    network = PoseFix(settings.network).eval()
    one = training_step(network, batch, settings.train)
    other = training_step(network, batch, replace(settings.train, heatmap_weight=3.0, coordinate_weight=0.5))
    torch.testing.assert_close(other["heatmap"], 3 * one["heatmap"])
    torch.testing.assert_close(other["coordinate"], 0.5 * one["coordinate"])


# Recipes


def test_weights_that_train_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="both 0"):
        TrainConfig(steps=1, heatmap_weight=0, coordinate_weight=0)
    with pytest.raises(InputError, match="must not be negative"):
        TrainConfig(steps=1, coordinate_weight=-1)
    with pytest.raises(InputError, match="similarity_weight needs"):
        recipe(network=NetworkConfig(output="argmax"), train=TrainConfig(steps=1, similarity_weight=1))
    with pytest.raises(InputError, match="heatmap_weight must not be 0"):
        recipe(network=NetworkConfig(output="argmax"), train=TrainConfig(steps=1, heatmap_weight=0))


@pytest.mark.parametrize("name", ["input_pose", "output"])
def test_unknown_kinds_are_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} must be one of .*, got 'round'"):
        NetworkConfig.from_dict({name: "round"})


def test_an_unknown_synthesis_is_named() -> None:
    with pytest.raises(InputError, match="method must be one of posefix, pose_refiner, got 'noise'"):
        SynthesisConfig("noise")


BASE = """
[network]
sigma = 3.0
backbone = "resnet18"
[train]
steps = 5
[[data]]
annotations = "a"
images = ["i"]
weight = 1.0
"""


def test_a_recipe_takes_what_it_does_not_say_from_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "middle.toml").write_text('extends = "base.toml"\n[network]\nsigma = 5.0\n')
    (tmp_path / "sub" / "own.toml").write_text('extends = "../middle.toml"\n[train]\nbatch_size = 7\n')
    base, own = read_recipe(tmp_path / "base.toml"), read_recipe(tmp_path / "sub" / "own.toml")
    network, train = replace(base.network, sigma=5.0), replace(base.train, batch_size=7)
    assert own == replace(base, network=network, train=train)


def test_a_recipe_that_extends_itself_or_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(InputError, match=r"a\.toml: this recipe extends itself"):
        read_recipe(tmp_path / "a.toml")
    (tmp_path / "c.toml").write_text('extends = "none.toml"\n')
    with pytest.raises(InputError, match=r"none\.toml: not a readable TOML recipe"):
        read_recipe(tmp_path / "c.toml")

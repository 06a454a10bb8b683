import csv
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainer.train as train_module
from posefix_track.errors import InputError, PosefixError
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights import load_weights
from tests.training_data import NO_AUGMENTATION, recipe, write_training_data
from trainer.__main__ import main
from trainer.checkpoints import load_checkpoint, save_checkpoint
from trainer.objective import training_step
from trainer.recipe import Recipe, TrainConfig
from trainer.samples import Batch
from trainer.schedule import learning_rate, update_average
from trainer.train import load_samples, train


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_training_data(tmp_path)
    return tmp_path


def one_batch(root: Path) -> tuple[Recipe, Batch]:
    settings = recipe(augment=NO_AUGMENTATION)
    return settings, load_samples(settings, root)[0]


def test_training_on_one_batch_lowers_its_loss(root: Path) -> None:
    settings, batch = one_batch(root)
    torch.manual_seed(0)
    network = PoseFix(settings.network)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    totals = []
    for _ in range(8):
        losses = training_step(network.train(), batch, settings.train)
        total = torch.stack([*losses.values()]).sum()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(total.item())
    assert totals[1] < totals[0]
    assert totals[-1] < 0.8 * totals[0]


def test_a_step_gives_a_loss_for_each_part(root: Path) -> None:
    settings, batch = one_batch(root)
    network = PoseFix(settings.network)
    losses = training_step(network, batch, replace(settings.train, bfloat16=True, similarity_weight=0.5))
    assert set(losses) == {"heatmap", "coordinate", "similarity", "confidence"}
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    plain = PoseFix(replace(settings.network, confidence=False))
    without = replace(settings.train, similarity_weight=0.0)
    assert set(training_step(plain, batch, without)) == {"heatmap", "coordinate"}


@pytest.mark.parametrize("point", [(-1.0, 20.0), (32.0, 20.0), (10.0, 64.0), (1e6, 1e6)])
def test_joints_outside_the_crop_count_in_no_position_loss(root: Path, point: tuple[float, float]) -> None:
    settings, batch = one_batch(root)
    network = PoseFix(settings.network).eval()
    batch.targets[0, 5], batch.labelled[0, 5] = torch.tensor(point), True
    outside = training_step(network, batch, settings.train)
    batch.labelled[0, 5] = False
    without = training_step(network, batch, settings.train)
    for name in ("heatmap", "coordinate"):
        assert torch.equal(outside[name], without[name])


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, learning_rate=2.0)
    rates = [learning_rate(step, config) for step in range(101)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) * 0.2)
    assert rates[10] == 2.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert abs(rates[55] - 1.0) < 1e-9
    assert abs(rates[100]) < 1e-9


def test_the_average_follows_weights_and_copies_counters() -> None:
    average, network = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    nn.init.constant_(network.weight, 3.0)
    network.num_batches_tracked += 5
    update_average(average, network, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.num_batches_tracked == 5


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class _InterruptError(Exception):
    pass


def interrupted_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``training_step`` fail at its ``call``-th call."""
    calls = iter(range(1000))

    def step(network: PoseFix, batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
        if next(calls) == call:
            raise _InterruptError
        return training_step(network, batch, config)

    monkeypatch.setattr(train_module, "training_step", step)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(root: Path, monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    settings = recipe(train=replace(recipe().train, bfloat16=bfloat16))
    whole = train(settings, root, root / "whole", workers=0)
    interrupted_at(3, monkeypatch)
    with pytest.raises(_InterruptError):
        train(settings, root, root / "parts", workers=0)
    monkeypatch.undo()
    assert load_checkpoint(root / "parts" / "checkpoint.pt")["step"] == 2
    resumed = train(settings, root, root / "parts", workers=0)
    assert equal(whole, resumed)
    last = [load_checkpoint(root / run / "checkpoint.pt") for run in ("whole", "parts")]
    assert all(torch.equal(last[0]["network"][name], last[1]["network"][name]) for name in last[0]["network"])


def test_a_finished_run_leaves_weights_that_load(root: Path) -> None:
    average = train(recipe(), root, root / "out", workers=0)
    loaded = load_weights(root / "out" / "weights.safetensors")
    assert loaded.network.config == recipe().network
    assert loaded.info["steps"] == 4
    assert loaded.info["recipe"]["train"]["batch_size"] == 3
    stored, kept = loaded.network.state_dict(), average.state_dict()
    assert all(torch.allclose(stored[name], kept[name], rtol=1e-3, atol=1e-6) for name in kept)  # half precision
    assert train(recipe(), root, root / "out", workers=0) is not None  # nothing left to do


def test_a_run_starts_from_given_weights(root: Path) -> None:
    start = PoseFix(recipe().network)
    before = [p.detach().clone() for p in start.parameters()]
    still = recipe(train=replace(recipe().train, learning_rate=0.0, steps=1))
    network = train(still, root, root / "out", start, workers=0)
    for kept, old in zip(network.parameters(), before, strict=True):
        torch.testing.assert_close(kept, old)


def test_frozen_parts_stay_as_they_are(root: Path) -> None:
    settings = recipe(train=replace(recipe().train, frozen=("backbone.features.0",)))
    start = PoseFix(settings.network)
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    train(settings, root, root / "out", start, workers=0)
    moved = {name for name, tensor in start.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not any(name.startswith("backbone.features.0.") for name in moved)
    assert {"backbone.features.1.conv.0.0.weight", "backbone.features.1.conv.0.1.running_mean"} <= moved


def bias_step(factor: float) -> Callable[[PoseFix, Batch, TrainConfig], dict[str, Tensor]]:
    """A training step that costs nothing."""
    return lambda network, batch, config: {"heatmap": network.head.final.bias.sum() * factor}


def test_the_log_has_a_row_every_25_steps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "training_step", bias_step(1.0))
    settings = recipe(train=replace(recipe().train, steps=25, batch_size=1, checkpoint_steps=100))
    train(settings, root, root / "out", workers=0)
    with (root / "out" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["25"]
    assert math.isfinite(float(rows[0]["heatmap"]))


def test_a_diverged_run_stops(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "training_step", bias_step(math.nan))
    settings = recipe(train=replace(recipe().train, steps=25, batch_size=1, checkpoint_steps=100))
    with pytest.raises(PosefixError, match=r"diverged at step 25"):
        train(settings, root, root / "out", workers=0)
    assert not (root / "out" / "weights.safetensors").exists()


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: b"text"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 3, "tensor": torch.ones(2)})
    assert load_checkpoint(path)["step"] == 3
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"checkpoint\.pt: not a readable checkpoint"):
        load_checkpoint(path)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch.save({"step": 3, "network": nn.Linear(1, 1)}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"checkpoint\.pt: not a readable checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_checkpoint_of_another_network_is_named(root: Path) -> None:
    train(recipe(train=replace(recipe().train, steps=1)), root, root / "out", workers=0)
    other = recipe(network=NetworkConfig(input_size=(64, 32), head_channels=(8, 8, 8)))
    with pytest.raises(InputError, match=r"checkpoint\.pt: .*another recipe"):
        train(other, root, root / "out", workers=0)


def test_the_command_reports_a_missing_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    missing = str(tmp_path / "none.toml")
    monkeypatch.setattr(sys, "argv", ["trainer", missing, "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert main() == InputError.exit_code
    assert "error: " in caplog.text and "none.toml: not a readable TOML recipe" in caplog.text

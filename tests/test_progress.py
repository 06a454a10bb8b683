"""What a run tells about itself, and what a full disk does to it."""

import csv
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import trainer.progress as progress_module
from posefix_track.errors import InputError, ResourceError
from posefix_track.network import PoseFix
from posefix_track.weights import save_weights
from tests.training_data import recipe, write_training_data
from trainer.checkpoints import differing_settings, load_checkpoint, save_checkpoint
from trainer.picture_grid import picture_grid
from trainer.progress import DataWait, Progress
from trainer.schedule import average_decay, make_optimizer
from trainer.train import load_samples, train


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return [*csv.DictReader(file)]


# Logs


def test_rows_are_added_under_one_header(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    progress.row("log", 25, {"loss": 1.5, "rate": 1e-4})
    progress.row("log", 50, {"loss": 1.25, "rate": 1e-5})
    assert rows_of(tmp_path / "log.csv") == [
        {"step": "25", "loss": "1.5", "rate": "0.0001"}, {"step": "50", "loss": "1.25", "rate": "1e-05"},
    ]  # fmt: skip


def test_a_resumed_log_forgets_what_was_not_saved(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    for step in (25, 50, 75):
        progress.row("log", step, {"loss": step})
    Progress(tmp_path, first=50).row("log", 75, {"loss": -1})
    assert [row["loss"] for row in rows_of(tmp_path / "log.csv")] == ["25", "50", "-1"]


def test_a_log_of_another_run_is_not_mixed_in(tmp_path: Path) -> None:
    Progress(tmp_path).row("log", 25, {"loss": 1})
    with pytest.raises(InputError, match=r"log\.csv: has columns \['step', 'loss'\], expected \['step', 'other'\]"):
        Progress(tmp_path, first=25).row("log", 50, {"other": 1})


def test_tensorboard_gets_numbers_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    progress = Progress(tmp_path, tensorboard=True)
    progress.row("log", 25, {"loss": 1.5})
    progress.pictures(25, np.zeros((8, 8, 3), np.uint8))
    progress.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("log/loss")] == [(25, 1.5)]
    assert len(events.Images("pictures")) == 1


def test_tensorboard_is_only_needed_where_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    Progress(tmp_path).row("log", 25, {"loss": 1})
    with pytest.raises(ResourceError, match=r'--tensorboard needs: pip install -e "\.\[train\]"'):
        Progress(tmp_path, tensorboard=True)


def test_the_wait_for_data_is_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: clock[0])

    def slow_batches() -> Iterator[int]:
        for i in range(3):
            clock[0] += 1
            yield i

    wait = DataWait(torch.device("cpu"))
    for _ in wait.watch(slow_batches()):
        clock[0] += 3
    assert wait.share() == (pytest.approx(0.25), 12)
    clock[0] += 2
    assert wait.share() == (0, 2)


def test_a_run_leaves_its_log_and_its_pictures(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    train(recipe(), tmp_path, tmp_path / "out", workers=0)
    (row,) = rows_of(tmp_path / "out" / "log.csv")
    expected = ["step", "heatmap", "coordinate", "confidence", "epoch", "learning_rate"]
    assert list(row) == [*expected, "samples_per_second", "data_wait", "seconds"]
    assert row["step"] == "4" and row["epoch"] == "2"  # six people in batches of three
    assert 0 < float(row["data_wait"]) < 1 and float(row["samples_per_second"]) > 0
    grid = cv2.imread(str(tmp_path / "out" / "pictures.png"))
    assert grid is not None and grid.shape == (3 * 64 + 18, 4 * 32, 3)


def test_the_picture_grid_shows_the_crop_and_what_is_drawn_on_it(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    batch = load_samples(recipe(), tmp_path)[0]
    network = PoseFix(recipe().network).train()
    grid = picture_grid(network, batch, people=2)
    assert network.training
    columns = [grid[18 : 18 + 64, 32 * i : 32 * i + 32] for i in range(4)]
    crop = batch.images[0].numpy()
    for column in columns[:3]:
        assert 0 < (column != crop).any(-1).mean() < 1
    batch.present[0] = False
    np.testing.assert_array_equal(picture_grid(network, batch, people=1)[18:, :32], crop)


# Optimisers


def test_adam_has_coupled_decay_and_adamw_has_not(tmp_path: Path) -> None:
    network = PoseFix(recipe().network)
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        optimizer = make_optimizer(network, replace(recipe().train, optimizer=name, weight_decay=0.1))
        assert type(optimizer) is kind
        decays = {p.ndim > 1: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert decays == {True: 0.1, False: 0.0}


def test_an_average_of_decay_0_is_the_network_itself() -> None:
    assert average_decay(10**6, replace(recipe().train, ema_decay=0.0)) == 0
    assert average_decay(0, replace(recipe().train, ema_decay=0.9)) == 0.1
    assert average_decay(10**6, replace(recipe().train, ema_decay=0.9)) == 0.9


# Checkpoints


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may be longer than 100 kB, as if the disk ended there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_last_checkpoint_intact(tmp_path: Path, small_disk: None) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(ResourceError, match=r"checkpoint\.pt: cannot be written \(.*\); there is no earlier one"):
        save_checkpoint(path, {"step": 0, "tensor": torch.ones(100_000)})
    save_checkpoint(path, {"step": 1, "tensor": torch.ones(100)})
    with pytest.raises(ResourceError, match=r"checkpoint\.pt: cannot be written \(.*\); the last checkpoint is intact"):
        save_checkpoint(path, {"step": 2, "tensor": torch.ones(100_000)})
    assert load_checkpoint(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_full_disk_leaves_the_last_weights_intact(tmp_path: Path, small_disk: None) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"the last ones")
    with pytest.raises(ResourceError, match=r"w\.safetensors: cannot be written"):
        save_weights(tmp_path / "w.safetensors", PoseFix(recipe().network), {})
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the last ones"]


def test_a_changed_recipe_is_named_when_a_run_goes_on(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    train(recipe(), tmp_path, tmp_path / "out", workers=0)
    changed = replace(recipe(), train=replace(recipe().train, learning_rate=1e-5, checkpoint_steps=3))
    changed = replace(changed, augment=replace(changed.augment, colour=0.5))
    with pytest.raises(InputError, match=r"another recipe; .*: augment\.colour, train\.learning_rate differ"):
        train(changed, tmp_path, tmp_path / "out", workers=0)
    train(replace(recipe(), train=replace(recipe().train, checkpoint_steps=3)), tmp_path, tmp_path / "out", workers=0)


def test_settings_are_compared_by_name() -> None:
    one = {"a": {"b": 1, "c": (1, 2)}, "d": 1}
    assert differing_settings(one, one) == []
    assert differing_settings(one, {"a": {"b": 2, "c": (1, 2)}, "e": 1}) == ["a.b", "d", "e"]

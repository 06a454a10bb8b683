"""Two processes compute what one does with the whole batch."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from posefix_track.errors import ResourceError
from posefix_track.network import NetworkConfig
from tests.training_data import recipe, write_training_data
from trainer.checkpoints import load_checkpoint
from trainer.losses import masked_mean
from trainer.processes import OneProcess, Processes, this_process
from trainer.recipe import Recipe
from trainer.train import train


def joint_recipe() -> Recipe:
    # MobileNetV2's fifty batch norms would blow rounding up to 2 % of the gradient, in one process as well.
    network = NetworkConfig("resnet18", "coco17", (64, 64), head_channels=(16, 16, 16))
    return recipe(network=network, train=replace(recipe().train, batch_size=32, steps=1))


def in_two_processes(root: Path, out: str) -> None:
    """``torchrun``, without the port that it would take from whoever has it."""
    code = f"import tests.test_processes as t; t.run({str(root)!r}, {out!r})"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "localhost:0", "--no-python", sys.executable, "-c", code]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def run(root: str, out: str) -> None:
    """What each of the two processes does."""
    train(joint_recipe(), Path(root), Path(root) / out, workers=0)
    processes = this_process()
    gradients = chain_gradients(processes)
    if processes.index == 0:
        torch.save(gradients, Path(root) / out / "chain.pt")


def chain_gradients(processes: Processes) -> list[torch.Tensor]:
    """Gradients of a few convolutions and batch norms for this process's part of a batch."""
    generator = torch.Generator().manual_seed(0)
    batch, truth = torch.randn(32, 3, 16, 16, generator=generator), torch.randn(32, 8, 16, 16, generator=generator)
    torch.manual_seed(0)
    layers = [nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(4)]
    chain = nn.Sequential(*(part for layer in layers for part in (layer, nn.BatchNorm2d(8), nn.ReLU(inplace=True))))
    rows = slice(processes.index * 32 // processes.count, (processes.index + 1) * 32 // processes.count)
    mask = (truth > 0.3) & (torch.arange(32) < 20)[:, None, None, None]  # more of it in the first half
    joined = processes.join(chain)  # its hooks must outlive the backward pass
    masked_mean((joined(batch[rows]) - truth[rows]).square(), mask[rows]).backward()
    return [parameter.grad for parameter in chain.parameters() if parameter.grad is not None]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_training_data(root)
    train(joint_recipe(), root, root / "one", workers=0)
    in_two_processes(root, "two")
    return root


def test_two_processes_compute_the_gradients_of_the_whole_batch(root: Path) -> None:
    expected, found = chain_gradients(OneProcess()), torch.load(root / "two" / "chain.pt", weights_only=True)
    longest = max(gradient.norm() for gradient in expected)
    assert len(found) == len(expected) == 16
    for one, two in zip(expected, found, strict=True):
        assert (one - two).norm() <= 1e-5 * longest  # sums of float32 in another order


def test_two_processes_take_the_step_of_one(root: Path) -> None:
    # Adam's first average is a tenth of the gradient; the weights themselves would show its rounding blown up.
    one, two = (load_checkpoint(root / name / "checkpoint.pt")["optimizer"]["state"] for name in ("one", "two"))
    assert one.keys() == two.keys() and len(one) > 70
    gradients = [torch.cat([state["exp_avg"].ravel() for state in states.values()]) for states in (one, two)]
    # Twenty batch norms blow rounding up: to 0.4 % of the first layer's gradient.
    assert (gradients[1] - gradients[0]).norm() < 0.01 * gradients[0].norm()


def test_two_processes_have_the_batch_statistics_of_the_whole_batch(root: Path) -> None:
    one, two = (load_checkpoint(root / name / "checkpoint.pt")["network"] for name in ("one", "two"))
    names = [name for name in one if name.endswith(("running_mean", "running_var"))]
    assert len(names) > 40
    for name in names:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)  # float32 sums in another order
    counters = [name for name in one if name.endswith("num_batches_tracked")]
    assert all(two[name] == one[name] == 1 for name in counters)


def test_two_processes_log_the_losses_of_the_whole_batch(root: Path) -> None:
    rows = []
    for name in ("one", "two"):
        with (root / name / "log.csv").open() as file:
            rows.append([*csv.DictReader(file)])
    assert len(rows[0]) == len(rows[1]) == 1  # the last step, written once
    for loss in ("heatmap", "coordinate", "confidence"):
        assert float(rows[1][0][loss]) == pytest.approx(float(rows[0][0][loss]), rel=1e-4)


def test_a_process_on_its_own_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert isinstance(this_process(), OneProcess)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ResourceError, match=r'several processes needs: pip install -e "\.\[train\]"'):
        this_process()

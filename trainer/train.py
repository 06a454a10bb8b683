"""The training loop, top to bottom."""

import csv
import logging
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from posefix_track.errors import InputError, PosefixError
from posefix_track.network import PoseFix
from posefix_track.weights import save_weights
from trainer.checkpoints import load_checkpoint, save_checkpoint
from trainer.datasets import load_dataset
from trainer.error_model import load_error_model
from trainer.objective import training_step
from trainer.recipe import Recipe, TrainConfig
from trainer.rendered import rendered_dataset
from trainer.samples import Batch, Samples

_log = logging.getLogger(__name__)


def train(recipe: Recipe, data: Path, out: Path, start: PoseFix | None = None, workers: int = 1) -> PoseFix:
    """Run a recipe to its end, or go on from ``out/checkpoint.pt``.

    Args:
        recipe: what to do.
        data: root of the recipe's data sets.
        out: folder for checkpoint.pt, log.csv and weights.safetensors.
        start: network to start from in place of fresh weights.
        workers: loader processes.

    Returns:
        the averaged (EMA) network.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.train.seed)
    samples = load_samples(recipe, data)
    network = (start or PoseFix(recipe.network)).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    for name in recipe.train.frozen:
        network.get_submodule(name).requires_grad_(False)
    average: PoseFix = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(_parameter_groups(network, recipe.train), lr=recipe.train.learning_rate)
    first = _resume(out / "checkpoint.pt", network, average, optimizer)
    for step, batch in _batches(samples, first, workers):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe.train)
        network.train()
        for name in recipe.train.frozen:
            network.get_submodule(name).eval()
        losses = training_step(network, batch.to(device), recipe.train)
        torch.stack([*losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_average(average, network, min(recipe.train.ema_decay, (step + 1) / (step + 10)))
        if (step + 1) % 25 == 0:
            _write_log(out / "log.csv", step + 1, losses)
        if (step + 1) % recipe.train.checkpoint_steps == 0 or step + 1 == recipe.train.steps:
            _save(out, step + 1, network, average, optimizer, recipe)
    return average


def load_samples(recipe: Recipe, data: Path) -> Samples:
    """All data sets of a recipe, drawn figures included."""
    datasets = [load_dataset(config, data) for config in recipe.data]
    for config, dataset in zip(recipe.data, datasets, strict=True):
        _log.info("%s: %s", config.annotations, dataset.summary())
    if recipe.rendered.pictures:
        datasets.append(rendered_dataset(recipe.rendered.pictures, recipe.rendered.weight, recipe.train.seed))
    model = recipe.synthesis.error_model
    return Samples(datasets, recipe, load_error_model(data / model) if model else None)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of all floating-point tensors, in place."""
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def _parameter_groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """No weight decay on biases and batch norms."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _batches(samples: Samples, start: int, workers: int) -> Iterator[tuple[int, Batch]]:
    loader = torch.utils.data.DataLoader(
        samples,
        batch_size=None,
        sampler=range(start, len(samples)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    yield from enumerate(loader, start)


def _resume(path: Path, network: PoseFix, average: PoseFix, optimizer: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    state = load_checkpoint(path)
    try:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: a checkpoint of another recipe; train into an empty folder: {error}") from error
    _log.info("%s: going on from step %d", path, state["step"])
    return int(state["step"])


def _save(
    out: Path, step: int, network: PoseFix, average: PoseFix, optimizer: torch.optim.Optimizer, recipe: Recipe
) -> None:
    state = {
        "step": step,
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    save_checkpoint(out / "checkpoint.pt", state)
    info = {"steps": step, "batch_size": recipe.train.batch_size, "recipe": recipe.to_dict()}
    save_weights(out / "weights.safetensors", average, info)


def _write_log(path: Path, step: int, losses: dict[str, Tensor]) -> None:
    values = {name: loss.item() for name, loss in losses.items()}
    if not all(np.isfinite(value) for value in values.values()):
        raise PosefixError(f"training diverged at step {step}: {values}")
    row = {"step": step, "seconds": round(time.time(), 1), **{name: f"{value:.5f}" for name, value in values.items()}}
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)

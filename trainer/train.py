"""The training loop, top to bottom."""

import logging
import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from posefix_track.errors import InputError, PosefixError
from posefix_track.network import PoseFix
from posefix_track.weights import save_weights
from trainer.checkpoints import differing_settings, load_checkpoint, save_checkpoint
from trainer.datasets import load_dataset
from trainer.error_model import load_error_model
from trainer.objective import Losses, training_step
from trainer.picture_grid import picture_grid
from trainer.processes import Processes, this_process
from trainer.progress import DataWait, Progress
from trainer.recipe import Recipe, TrainConfig
from trainer.rendered import rendered_dataset
from trainer.samples import Batch, Samples
from trainer.schedule import average_decay, clip_gradients, learning_rate, make_optimizer, update_average
from trainer.validation import Validation, load_validation

_log = logging.getLogger(__name__)

_LOG_STEPS = 25
# Settings that change nothing about the next step.
_FREE = ("train.checkpoint_steps", "validation.")


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    start: PoseFix | None = None,
    workers: int = 1,
    tensorboard: bool = False,
) -> PoseFix:
    """Run a recipe to its end, or go on from ``out/checkpoint.pt``.

    Args:
        recipe: what to do.
        data: root of the recipe's data sets.
        out: folder for checkpoint.pt, log.csv, validation.csv, pictures.png and weights.safetensors.
        start: network to start from in place of fresh weights.
        workers: loader processes of each training process.
        tensorboard: whether to write for TensorBoard too.

    Returns:
        the averaged (EMA) network.
    """
    processes = this_process()
    samples = load_samples(recipe, data, processes.index, processes.count)
    torch.manual_seed(recipe.train.seed)
    run = Run.begin(samples.recipe, out, start or PoseFix(recipe.network), processes.device)
    step_of, config = processes.join(run.step), run.recipe.train
    validation = load_validation(recipe.validation, data)
    reporter = _Reporter(run, processes, validation, samples.epoch_steps, tensorboard)
    for step, batch in enumerate(reporter.wait.watch(_batches(samples, run.first, workers)), run.first):
        batch = batch.to(processes.device)
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        losses: Losses = step_of(batch)
        torch.stack([*losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
        clip_gradients(run.network, config.clip_norm)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        update_average(run.average, run.network, average_decay(step, config))
        reporter.after(step + 1, losses, batch)
    reporter.close()
    return run.average


class _Step(nn.Module):
    """One forward pass with its losses, as a module: what data parallelism wraps."""

    def __init__(self, network: PoseFix, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        for name in config.frozen:
            network.get_submodule(name).requires_grad_(False)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = config.batch_norm_momentum

    def forward(self, batch: Batch) -> Losses:
        return training_step(self.network, batch, self.config)

    def train(self, mode: bool = True) -> "_Step":
        super().train(mode)
        for name in self.config.frozen:
            self.network.get_submodule(name).eval()
        return self


@dataclass
class Run:
    """What a run consists of; ``first`` is the step that it goes on from."""

    recipe: Recipe
    out: Path
    step: _Step
    average: PoseFix
    optimizer: torch.optim.Optimizer
    first: int = 0

    @classmethod
    def begin(cls, recipe: Recipe, out: Path, network: PoseFix, device: torch.device) -> "Run":
        """A new run, or the interrupted one of the folder ``out``."""
        out.mkdir(parents=True, exist_ok=True)
        network = network.to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        # Crops have one size, so the fastest convolutions are worth finding out.
        torch.backends.cudnn.benchmark = device.type == "cuda"
        average: PoseFix = deepcopy(network).requires_grad_(False)
        run = cls(recipe, out, _Step(network, recipe.train).train(), average, make_optimizer(network, recipe.train))
        if (out / "checkpoint.pt").is_file():
            run._resume(out / "checkpoint.pt")
        return run

    @property
    def network(self) -> PoseFix:
        """The network in training."""
        return self.step.network

    def save(self, step: int) -> None:
        """Write checkpoint.pt and weights.safetensors."""
        state = {
            "step": step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "recipe": self.recipe.to_dict(),
        }
        save_checkpoint(self.out / "checkpoint.pt", state)
        info = {"steps": step, "batch_size": self.recipe.train.batch_size, "recipe": self.recipe.to_dict()}
        save_weights(self.out / "weights.safetensors", self.average, info)

    def _resume(self, path: Path) -> None:
        state = load_checkpoint(path)
        changed = differing_settings(state.get("recipe", self.recipe.to_dict()), self.recipe.to_dict())
        changed = [name for name in changed if not name.startswith(_FREE)]
        try:
            if changed:
                raise ValueError(f"{', '.join(changed)} differ")
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: a checkpoint of another recipe; train into an empty folder: {error}") from error
        self.first = int(state["step"])
        _log.info("%s: going on from step %d", path, self.first)


@dataclass
class _Reporter:
    """What happens between steps: logs, checkpoints, validation; files are written by the first process."""

    run: Run
    processes: Processes
    validation: Validation | None
    epoch_steps: int
    tensorboard: bool

    def __post_init__(self) -> None:
        self.wait = DataWait(self.processes.device)
        first = self.processes.index == 0
        self._progress = Progress(self.run.out, self.run.first, self.tensorboard) if first else None
        self._logged = self.run.first

    def after(self, step: int, losses: Losses, batch: Batch) -> None:
        """Whatever is due after ``step`` steps. Raises PosefixError where a loss is not finite."""
        config, last = self.run.recipe.train, step == self.run.recipe.train.steps
        if step % _LOG_STEPS == 0 or last:
            self._log(step, losses)
        if step % config.checkpoint_steps == 0 or last:
            if self._progress:
                self.run.save(step)
                self._progress.pictures(step, picture_grid(self.run.average, batch))
            self.processes.wait()
        if self.validation and (step % (self.run.recipe.validation.steps or self.epoch_steps) == 0 or last):
            if self._progress:
                scores = self.validation.scores(self.run.average)
                self._progress.row("validation", step, scores)
                _log.info("step %d: AP %.3f, before %.3f", step, scores["ap"], scores["ap_before"])
            self.processes.wait()

    def close(self) -> None:
        """Write what is still held back."""
        if self._progress:
            self._progress.close()

    def _log(self, step: int, losses: Losses) -> None:
        means = self.processes.mean(torch.stack([loss.detach() for loss in losses.values()])).tolist()
        values = dict(zip(losses, means, strict=True))
        if not all(math.isfinite(value) for value in means):
            raise PosefixError(f"training diverged at step {step}: {values}")
        config = self.run.recipe.train
        waited, seconds = self.wait.share()
        samples = (step - self._logged) * config.batch_size
        self._logged = step
        speed = {"samples_per_second": samples / seconds, "data_wait": waited, "seconds": seconds}
        epoch = {"epoch": step / self.epoch_steps, "learning_rate": learning_rate(step - 1, config)}
        if self._progress:
            self._progress.row("log", step, values | epoch | speed)


def load_samples(recipe: Recipe, data: Path, process: int = 0, processes: int = 1) -> Samples:
    """All data sets of a recipe, drawn figures included; its length in steps. Of several processes, one's share."""
    datasets = [load_dataset(config, data) for config in recipe.data]
    for config, dataset in zip(recipe.data, datasets, strict=True):
        _log.info("%s: %s", config.annotations, dataset.summary())
    if recipe.rendered.pictures:
        datasets.append(rendered_dataset(recipe.rendered.pictures, recipe.rendered.weight, recipe.train.seed))
    model = recipe.synthesis.error_model
    people = sum(len(dataset.people) for dataset in datasets)
    recipe = replace(recipe, train=recipe.train.with_steps(people))
    return Samples(datasets, recipe, load_error_model(data / model) if model else None, process, processes)


def _batches(samples: Samples, first: int, workers: int) -> Iterator[Batch]:
    loader = torch.utils.data.DataLoader(
        samples,
        batch_size=None,
        sampler=range(first, len(samples)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    yield from loader

"""A run that is killed goes on as if nothing had happened."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from tests.training_data import recipe, write_training_data
from trainer.checkpoints import load_checkpoint
from trainer.recipe import Recipe
from trainer.train import train

STEPS = 30


def long_recipe() -> Recipe:
    return replace(recipe(), train=replace(recipe().train, steps=STEPS, checkpoint_steps=5))


def run(root: str, out: str) -> None:
    """What the process does that gets killed."""
    torch.set_num_threads(1)
    train(long_recipe(), Path(root), Path(out), workers=1)


def killed_after_a_checkpoint(root: Path, out: Path) -> int:
    """Kill a run once it has saved something -> the step that its last checkpoint is of."""
    code = f"import tests.test_resume as t; t.run({str(root)!r}, {str(out)!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True) as process:
        while not (out / "checkpoint.pt").is_file() and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    return int(load_checkpoint(out / "checkpoint.pt")["step"])


def losses(out: Path) -> list[tuple[str, ...]]:
    with (out / "log.csv").open() as file:
        return [(row["step"], row["heatmap"], row["coordinate"], row["confidence"]) for row in csv.DictReader(file)]


def test_a_killed_run_ends_like_one_that_was_not(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(long_recipe(), tmp_path, tmp_path / "whole", workers=0)
        assert 0 < killed_after_a_checkpoint(tmp_path, tmp_path / "parts") < STEPS
        train(long_recipe(), tmp_path, tmp_path / "parts", workers=0)
    finally:
        torch.set_num_threads(threads)
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts"))
    for part in ("network", "average"):
        assert all(torch.equal(tensor, parts[part][name]) for name, tensor in whole[part].items())
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert [row[0] for row in losses(tmp_path / "whole")] == ["25", "30"]

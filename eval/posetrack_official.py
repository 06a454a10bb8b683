"""Runs the official PoseTrack evaluator, where it is installed, and reads what it writes."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from eval.posetrack_frames import JOINTS
from eval.posetrack_metrics import Metrics
from posefix_track.errors import InputError, UsageError

# Our names for the vectors of its two files.
_AP = {"ap": "ap", "ap_precision": "pre", "ap_recall": "rec"}
_MOT = {"mota": "mota", "motp": "motp", "mot_precision": "pre", "mot_recall": "rec"}


def check_official() -> None:
    """Raises UsageError, with the command to install it, where poseval is missing."""
    if importlib.util.find_spec("poseval") is None:
        raise UsageError(
            "--official needs the official evaluator, which is not on PyPI; install it with "
            'pip install "poseval @ git+https://github.com/svenkreiss/poseval.git"'
        )


def official_metrics(truth: Path, prediction: Path) -> Metrics:
    """What poseval says of two folders, in percent, float64 [J + 1] each; its MOTP is the wrong one.

    Raises:
        UsageError: poseval is not installed, or the paths are not folders.
        InputError: poseval stopped; the message has its last line.
    """
    check_official()
    if not (truth.is_dir() and prediction.is_dir()):
        raise UsageError(f"--official compares two folders, got {truth} and {prediction}")
    with tempfile.TemporaryDirectory() as folder:
        _run(truth, prediction, folder)
        average_precision = json.loads((Path(folder) / "total_AP_metrics.json").read_text())
        mot = json.loads((Path(folder) / "total_MOT_metrics.json").read_text())
    return {**_vectors(average_precision, _AP), **_vectors(mot, _MOT)}


def _run(truth: Path, prediction: Path, output: str) -> None:
    # It glues folder and file name together, so a folder has to end with a slash.
    folders = ["-g", f"{truth}/", "-p", f"{prediction}/", "-o", output]
    command = [sys.executable, "-m", "poseval.evaluate", *folders, "-e", "-t"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise InputError(f"poseval could not evaluate {prediction} against {truth}: {lines[-1]}")


def _vectors(document: dict[str, list[float]], names: dict[str, str]) -> Metrics:
    vectors = {ours: np.array(document[theirs], dtype=np.float64) for ours, theirs in names.items()}
    for name, vector in vectors.items():
        if vector.shape != (len(JOINTS) + 1,):
            raise InputError(f"poseval wrote {vector.shape} values of {name}, expected {len(JOINTS) + 1}")
    return vectors

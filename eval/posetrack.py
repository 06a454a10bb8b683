"""PoseTrack evaluation: pose files in, average precision, MOTA, MOTP and keypoint HOTA out.

Default numbers are those of the official evaluator (poseval), except MOTP, which that tool gets wrong with every
motmetrics since 1.1. `strict` takes out these peculiarities of the official one:

* the last annotated frame of every sequence does not count in MOT;
* a frame with nobody on one side counts in MOT as one miss and one false positive of each joint type;
* a labelled frame in which nobody is annotated does not count, whatever is predicted there;
* a joint type without annotations or without predictions has AP, precision or MOTP 0 where it is undefined;
* joints of equal score enter the precision-recall curve in file order.

HOTA counts every labelled frame in both modes.
"""

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eval.clear_mot import clear_mot
from eval.hota import hota
from eval.pose_assignment import correct_joints
from eval.posetrack_align import align
from eval.posetrack_metrics import Metrics, SequenceCounts, by_group, by_name, metrics_of
from eval.posetrack_read import read_posetrack
from posefix_track.errors import InputError

_Files = tuple[str, Path, Path]


@dataclass(frozen=True)
class PosetrackResult:
    """Metrics in percent, float64 [J + 1] each: the joints of `JOINTS` and `total`; NaN where undefined.

    Attributes:
        metrics: ap, ap_precision, ap_recall, mota, motp, mot_precision, mot_recall, hota, deta, assa.
        per_sequence: the same for every sequence alone; empty unless asked for.
        strict: which mode made them.
        sequences, frames: how many were evaluated.
        notes: what a reader of the numbers should know, one sentence each.
    """

    metrics: Metrics
    per_sequence: dict[str, Metrics]
    strict: bool
    sequences: int
    frames: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON: names to numbers or null."""
        return {
            "mode": "strict" if self.strict else "poseval",
            "sequences": self.sequences,
            "frames": self.frames,
            "notes": list(self.notes),
            **_named(self.metrics),
            "groups": {name: by_group(values) for name, values in self.metrics.items()},
            "per_sequence": {name: _named(metrics) for name, metrics in self.per_sequence.items()},
        }


def _named(metrics: Metrics) -> dict[str, dict[str, float | None]]:
    return {name: by_name(values) for name, values in metrics.items()}


def evaluate_posetrack(
    truth: Path, prediction: Path, *, strict: bool = False, per_sequence: bool = False, workers: int = 1
) -> PosetrackResult:
    """Evaluates a folder of PoseTrack files (or one file) against another with the same file names.

    Args:
        truth: ground truth, one JSON file per sequence.
        prediction: prediction files of the same names; the name is free where both are single files.
        strict: without the official evaluator's peculiarities (see the module).
        per_sequence: also every sequence alone.
        workers: processes to share the sequences between.

    Raises:
        InputError: a file is missing or broken, or the two sides do not list the same frames.
    """
    files = paired_files(truth, prediction)
    counts = _count_all(files, strict, workers)
    return PosetrackResult(
        metrics=metrics_of(counts, strict),
        per_sequence={c.name: metrics_of([c], strict) for c in counts} if per_sequence else {},
        strict=strict,
        sequences=len(counts),
        frames=sum(c.frames for c in counts),
        notes=tuple(_notes(counts, len(files), prediction, strict)),
    )


def paired_files(truth: Path, prediction: Path) -> list[_Files]:
    """(sequence name, ground-truth file, prediction file) in name order. Raises InputError where one is missing."""
    if truth.is_file() and prediction.is_file():
        return [(truth.stem, truth, prediction)]
    for folder in (truth, prediction):
        if not folder.is_dir():
            raise InputError(f"{folder}: expected a folder of PoseTrack files, but there is none")
    files = [(path.stem, path, prediction / path.name) for path in sorted(truth.glob("*.json"))]
    if not files:
        raise InputError(f"{truth}: holds no .json file; give the folder with one ground-truth file per sequence")
    missing = [path.name for _, _, path in files if not path.is_file()]
    if missing:
        raise InputError(
            f"{prediction}: has no prediction for {len(missing)} of {len(files)} sequences ({', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}); a prediction has the same file name as its ground truth"
        )
    return files


def _count_all(files: list[_Files], strict: bool, workers: int) -> list[SequenceCounts]:
    count = partial(count_sequence, strict=strict)
    if min(workers, len(files)) <= 1:
        return [count(entry) for entry in files]
    # A forked child of a process with threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(files)), mp_context=context) as pool:
        return list(pool.map(count, files, chunksize=max(1, len(files) // (8 * workers))))


def count_sequence(files: _Files, strict: bool) -> SequenceCounts:
    """Reads one sequence and counts everything that the metrics need of it."""
    name, truth_path, prediction_path = files
    prediction = read_posetrack(prediction_path, "prediction")
    sequence = align(read_posetrack(truth_path, "ground truth"), prediction)
    counted = np.ones_like(sequence.annotated) if strict else sequence.annotated
    frames = np.flatnonzero(counted)
    person, joint = np.nonzero(sequence.prediction.present & counted[sequence.prediction.frame][:, None])
    return SequenceCounts(
        name=name,
        frames=len(frames),
        joint=joint,
        score=sequence.prediction.scores[person, joint],
        correct=correct_joints(sequence)[person, joint],
        positives=sequence.truth.present.sum(0),
        mot=clear_mot(sequence, frames if strict else frames[:-1], one_sided_as_pair=not strict),
        hota=hota(sequence),
        unscored=prediction.unscored,
    )


def _notes(counts: list[SequenceCounts], files: int, prediction: Path, strict: bool) -> Iterable[str]:
    yield "MOTP counts matches and switches only; poseval with motmetrics 1.1 or newer prints a smaller, wrong one."
    unscored = sum(c.unscored for c in counts)
    if unscored:
        yield f"{unscored} predicted people have no joint scores: AP puts them last, in file order."
    extra = len(list(prediction.glob("*.json"))) - files if prediction.is_dir() else 0
    if extra:
        yield f"{extra} files in {prediction} have no ground truth and were left out."
    if not strict:
        yield "Like poseval, MOT leaves out the last annotated frame of every sequence (--strict counts it)."


def default_workers(files: int) -> int:
    """As many processes as there are processors, but none for so few sequences that starting it costs more."""
    return max(1, min(os.cpu_count() or 1, files // 16))

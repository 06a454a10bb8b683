"""Refines the trackers of a benchmark and evaluates them before and after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from eval.benchmark_make import ANNOTATIONS, IMAGES, MARKER, REFINED, TRACKER_OUTPUT
from eval.posetrack import PosetrackResult, default_workers, evaluate_posetrack
from posefix_track.errors import InputError
from posefix_track.formats import read_poses
from posefix_track.refine import refine_sequence
from posefix_track.refiner import PoseRefiner
from posefix_track.report import Report
from posefix_track.video import open_source

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TrackerResult:
    """One tracker's metrics as it came and refined, and what the refinement did."""

    tracker: str
    before: PosetrackResult
    after: PosetrackResult
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON."""
        return {"before": self.before.to_dict(), "after": self.after.to_dict(), "refinement": self.report.to_dict()}


def find_trackers(folder: Path, wanted: Sequence[str] | None = None) -> list[str]:
    """Names of the trackers of a benchmark, or the ``wanted`` ones.

    Raises:
        InputError: there is no benchmark, it is unfinished, or it lacks a wanted tracker.
    """
    for part in (IMAGES, ANNOTATIONS, TRACKER_OUTPUT):
        if not (folder / part).is_dir():
            raise InputError(
                f"{folder}: no benchmark, for it has no folder {part}; make one with `python -m eval make-benchmark`"
            )
    _check_complete(folder)
    found = sorted(path.name for path in (folder / TRACKER_OUTPUT).iterdir() if path.is_dir())
    missing = [name for name in wanted or () if name not in found]
    if missing or not found:
        known = ", ".join(found) or "none"
        raise InputError(f"{folder / TRACKER_OUTPUT}: no tracker {', '.join(missing)}; it has: {known}")
    return [*wanted] if wanted else found


def run_benchmark(
    folder: Path, refiner: PoseRefiner, label: str, trackers: Sequence[str], advance: Advance | None = None
) -> list[TrackerResult]:
    """Refine every tracker into ``folder``/refined/``label``/<tracker> and evaluate both sides.

    Args:
        folder: a benchmark of `make_benchmark`, or PoseTrack data laid out like one.
        refiner: for PoseTrack's joints; shared by all trackers.
        label: what to call this refinement, such as the name of the weights; earlier poses of that name are replaced.
        trackers: names of folders in ``folder``/trackers.
        advance: called now and then with tracker, finished frames and all frames.

    Raises:
        InputError: poses, pictures or ground truth that are missing or broken.
    """
    return [_run_tracker(folder, refiner, label, tracker, advance) for tracker in trackers]


def _check_complete(folder: Path) -> None:
    """A benchmark whose making was interrupted has fewer sequences than it says."""
    if not (folder / MARKER).is_file():
        return
    try:
        wanted = orjson.loads((folder / MARKER).read_bytes())["sequences"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{folder / MARKER}: does not say how the benchmark was made; make it again") from error
    found = len(list((folder / ANNOTATIONS).glob("*.json")))
    if found != wanted:
        raise InputError(f"{folder}: has {found} of {wanted} sequences; make the benchmark again with --overwrite")


def _run_tracker(
    folder: Path, refiner: PoseRefiner, label: str, tracker: str, advance: Advance | None
) -> TrackerResult:
    truth, poses, refined = folder / ANNOTATIONS, folder / TRACKER_OUTPUT / tracker, folder / REFINED / label / tracker
    workers = default_workers(len(list(truth.glob("*.json"))))
    before = evaluate_posetrack(truth, poses, workers=workers)
    report = _refine(folder / IMAGES, poses, refined, refiner, tracker, advance)
    return TrackerResult(tracker, before, evaluate_posetrack(truth, refined, workers=workers), report)


def _refine(
    images: Path, poses: Path, output: Path, refiner: PoseRefiner, tracker: str, advance: Advance | None
) -> Report:
    pose_file, report = read_poses(poses), Report()
    total = sum(len(sequence.frames) for sequence in pose_file.sequences)

    def count() -> None:
        if advance is not None:
            advance(tracker, report.frames, total)

    refined = []
    with open_source(images) as source:
        for sequence in pose_file.sequences:
            if sequence.keypoint_set != refiner.keypoint_set:
                raise InputError(
                    f"{poses}: has the joints of {sequence.keypoint_set.name}, not of {refiner.keypoint_set.name}"
                )
            refined.append(refine_sequence(source, sequence, refiner, report, advance=count))
    output.parent.mkdir(parents=True, exist_ok=True)
    pose_file.write(output, refined)
    return report

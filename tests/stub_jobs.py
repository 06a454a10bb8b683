"""Runs on a small clip with an engine that only pretends, and what an undisturbed one makes of it."""

from pathlib import Path

from benchmarks.stub_run import StubEngine, stub_weights, write_clip, write_poses
from posefix_track.job import Job, run_job

SIZE, PEOPLE = (64, 80), 2
REFINER = {"weights": stub_weights(), "flip": False}


def write_files(folder: Path, frames: int, **options: object) -> Path:
    """A clip, poses for it, and in refined.jsonl what an undisturbed run with ``options`` of a job makes of them."""
    write_clip(folder / "clip.mp4", frames, SIZE)
    write_poses(folder / "poses.jsonl", frames, PEOPLE, SIZE)
    run_job(job(folder, folder / "refined.jsonl", **options))
    return folder


def job(files: Path, output: Path | None, **options: object) -> Job:
    refiner = {**REFINER, "engine": options.pop("engine", StubEngine())}
    poses = options.pop("poses", files / "poses.jsonl")
    return Job(files / "clip.mp4", poses, output, refiner=refiner, **options)  # type: ignore[arg-type]


def assert_whole(files: Path, output: Path) -> None:
    assert output.read_bytes() == (files / "refined.jsonl").read_bytes()

"""Runs that end before their time, whatever ends them: what is done is kept, and going on gives the same bytes."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kill_resume import Trials
from benchmarks.stub_run import StubEngine, stub_weights, write_clip
from posefix_track.errors import UsageError
from posefix_track.job import Job, run_job
from posefix_track.refine import Options
from posefix_track.report import Report
from tests.stub_jobs import PEOPLE, SIZE, assert_whole, job, write_files

FRAMES = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    return write_files(folder, FRAMES, save_video=folder / "overlay.mp4")


class StoppedError(Exception):
    """Stands for whatever may end a run."""


def stop_after(frames: int) -> Callable[[Report, int | None], None]:
    def progress(report: Report, _: int | None) -> None:
        if report.frames_with_poses >= frames:
            raise StoppedError

    return progress


def stopped(files: Path, output: Path, frames: int = 9, **options: object) -> Path:
    """A run that has ended after some frames; returns its journal."""
    with pytest.raises(StoppedError) as caught:
        run_job(job(files, output, **options), stop_after(frames))
    assert "the same command with --resume goes on" in caught.value.__notes__[0]
    return output.with_name(output.name + ".journal")


def test_nothing_but_output_and_report_is_left(files: Path) -> None:
    assert sorted(path.name for path in files.iterdir()) == [
        "clip.mp4", "overlay.mp4", "poses.jsonl", "refined.jsonl", "refined.jsonl.report.json",
    ]  # fmt: skip


@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize("frames", [1, 9, FRAMES])
def test_a_resumed_run_gives_the_same_bytes(files: Path, tmp_path: Path, frames: int, overlay: bool) -> None:
    output, video = tmp_path / "out.jsonl", tmp_path / "overlay.mp4" if overlay else None
    stopped(files, output, frames, save_video=video)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl.journal"]
    engine = StubEngine()
    report = run_job(job(files, output, resume=True, save_video=video, engine=engine)).report
    assert_whole(files, output)
    assert 0 < report.frames_resumed <= frames + 8 and report.frames == FRAMES
    assert video is None or video.read_bytes() == (files / "overlay.mp4").read_bytes()
    assert not (tmp_path / "out.jsonl.journal").exists()


def test_a_resumed_run_reports_the_same_counts(files: Path, tmp_path: Path) -> None:
    options = Options(drop_below=0.95, scores="refined")
    whole = run_job(job(files, tmp_path / "whole.jsonl", options=options)).report.to_dict()
    stopped(files, tmp_path / "out.jsonl", options=options)
    resumed = run_job(job(files, tmp_path / "out.jsonl", options=options, resume=True)).report.to_dict()
    assert resumed.pop("frames_resumed") > whole.pop("frames_resumed") == 0
    assert whole.pop("seconds").keys() == resumed.pop("seconds").keys()
    # Time is that of each run alone.
    frames = [found.pop("latency_ms")["frame"]["count"] for found in (whole, resumed)]
    assert frames[0] == FRAMES and 0 < frames[1] < FRAMES
    assert resumed == whole and whole["joints_dropped"] == FRAMES * PEOPLE * 17


@pytest.mark.parametrize("kept", ["all", "none", *range(10)])
def test_a_torn_journal_loses_its_tail_only(files: Path, tmp_path: Path, kept: object) -> None:
    journal = stopped(files, tmp_path / "out.jsonl")
    data = journal.read_bytes()
    length = {"all": len(data), "none": 0}.get(str(kept)) if isinstance(kept, str) else random.Random(kept).randrange(
        len(data)
    )  # fmt: skip
    # Blocks that a power cut has lost read as zeros.
    journal.write_bytes(data[:length] + bytes(500 if kept == 3 else 0))
    run_job(job(files, tmp_path / "out.jsonl", resume=True))
    assert_whole(files, tmp_path / "out.jsonl")


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_journal_is_used_up_to_the_damage(files: Path, tmp_path: Path, seed: int) -> None:
    journal = stopped(files, tmp_path / "out.jsonl", 15)
    data = bytearray(journal.read_bytes())
    data[random.Random(seed).randrange(len(b"posefix_track journal 1\n"), len(data))] ^= 0x55
    journal.write_bytes(data)
    run_job(job(files, tmp_path / "out.jsonl", resume=True))
    assert_whole(files, tmp_path / "out.jsonl")


def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    """Fifty and more: python -m benchmarks.kill_resume."""
    trials = Trials(tmp_path, frames=40, people=2, rng=random.Random(0))
    for number in range(3):
        trials.trial(number)
    assert trials.problems == [] and sum(trials.kills.values()) == 4


def test_an_interrupted_run_is_not_forgotten_silently(files: Path, tmp_path: Path) -> None:
    journal = stopped(files, tmp_path / "out.jsonl")
    before = journal.read_bytes()
    with pytest.raises(UsageError, match=r"holds 12 frames of an interrupted run; add --resume to go on, or --overwr"):
        run_job(job(files, tmp_path / "out.jsonl"))
    assert journal.read_bytes() == before
    run_job(job(files, tmp_path / "out.jsonl", overwrite=True))
    assert_whole(files, tmp_path / "out.jsonl")
    assert not journal.exists()


def other_poses(files: Path, folder: Path) -> Path:
    path = folder / "other.jsonl"
    path.write_bytes((files / "poses.jsonl").read_bytes() + b"\n")
    return path


def other_clip(folder: Path) -> Path:
    write_clip(folder / "other.mp4", FRAMES + 1, SIZE)
    return folder / "other.mp4"


OTHERS: dict[str, Callable[[Job, Path, Path], Job]] = {
    "pose file": lambda j, files, folder: replace(j, poses=other_poses(files, folder)),
    "video": lambda j, files, folder: replace(j, source=other_clip(folder)),
    "weights": lambda j, files, folder: replace(
        j, refiner={**j.refiner, "weights": replace(stub_weights(), sha256="1")}
    ),
    "batch size": lambda j, files, folder: replace(j, refiner={**j.refiner, "batch_size": 3}),
    "flip": lambda j, files, folder: replace(j, refiner={**j.refiner, "flip": True}),
    "fill missing": lambda j, files, folder: replace(j, refiner={**j.refiner, "fill_missing": True}),
    "frames": lambda j, files, folder: replace(j, options=Options(frames=(0, 20))),
    "drop below": lambda j, files, folder: replace(j, options=Options(drop_below=0.5)),
    "overlay": lambda j, files, folder: replace(j, save_video=folder / "overlay.mp4"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_resuming_another_run_is_refused(files: Path, tmp_path: Path, what: str) -> None:
    journal = stopped(files, tmp_path / "out.jsonl")
    before = journal.read_bytes()
    other = OTHERS[what](job(files, tmp_path / "out.jsonl", resume=True), files, tmp_path)
    with pytest.raises(UsageError, match=rf"is of a run with another {what} \(.*resume with what that run had"):
        run_job(other)
    assert journal.read_bytes() == before


def test_where_files_lie_is_no_part_of_a_run(files: Path, tmp_path: Path) -> None:
    journal = stopped(files, tmp_path / "out.jsonl")
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (files / "clip.mp4", files / "poses.jsonl", journal):
        (moved / path.name).write_bytes(path.read_bytes())
    report = run_job(job(moved, moved / "out.jsonl", resume=True)).report
    assert_whole(files, moved / "out.jsonl")
    assert report.frames_resumed == 12


def test_resume_starts_where_nothing_was_begun(files: Path, tmp_path: Path) -> None:
    assert run_job(job(files, tmp_path / "out.jsonl", resume=True)).report.frames_resumed == 0
    assert_whole(files, tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match="already exists"):
        run_job(job(files, tmp_path / "out.jsonl", resume=True))


def test_what_is_no_journal_is_left_alone(files: Path, tmp_path: Path) -> None:
    diary = tmp_path / "out.jsonl.journal"
    diary.write_text("Dear diary")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UsageError, match="is no journal of posefix_track"):
            run_job(job(files, tmp_path / "out.jsonl", **options))
    assert diary.read_text() == "Dear diary"

"""Runs that end before their time, whatever ends them: what is done is kept, and going on gives the same bytes."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kill_resume import Trials
from benchmarks.stub_run import StubEngine, stub_weights, write_clip, write_poses
from posefix_track.cli import main
from posefix_track.errors import IncompleteError, UsageError
from posefix_track.job import Job, run_job
from posefix_track.refine import Options
from posefix_track.report import Report

ROOT = Path(__file__).parents[1]
SIZE, FRAMES, PEOPLE = (64, 80), 24, 2
REFINER = {"weights": stub_weights(), "flip": False}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip, poses for it, and in refined.jsonl what an undisturbed run makes of them."""
    folder = tmp_path_factory.mktemp("files")
    write_clip(folder / "clip.mp4", FRAMES, SIZE)
    write_poses(folder / "poses.jsonl", FRAMES, PEOPLE, SIZE)
    run_job(job(folder, folder / "refined.jsonl", save_video=folder / "overlay.mp4"))
    return folder


def job(files: Path, output: Path, **options: object) -> Job:
    refiner = {**REFINER, "engine": options.pop("engine", StubEngine())}
    return Job(files / "clip.mp4", files / "poses.jsonl", output, refiner=refiner, **options)  # type: ignore[arg-type]


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


def assert_whole(files: Path, output: Path) -> None:
    assert output.read_bytes() == (files / "refined.jsonl").read_bytes()


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


def test_two_runs_on_one_output(files: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"

    def second(report: Report, _: int | None) -> None:
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(UsageError, match=r"another run is writing .*out\.jsonl; wait for it"):
                run_job(job(files, output, **options))

    run_job(job(files, output), second)
    assert_whole(files, output)


def test_the_lock_of_a_dead_process_is_taken_over(files: Path, tmp_path: Path) -> None:
    """The child takes the lock and is killed with it; a lock of a living process holds."""
    program = f"""
import sys, time; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from posefix_track.journal import Journal
journal = Journal(Path({str(tmp_path / "out.jsonl")!r}))
print("locked", flush=True); time.sleep(600)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None and child.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match="another run is writing"):
            run_job(job(files, tmp_path / "out.jsonl"))
        child.kill()
    run_job(job(files, tmp_path / "out.jsonl"))
    assert_whole(files, tmp_path / "out.jsonl")


PROGRAM = f"""
import ctypes, signal, sys, time; sys.path.insert(0, {str(ROOT)!r})
# A shell's background jobs, this test among them, ignore Ctrl-C, and so would their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
from benchmarks.stub_run import StubEngine, stub_weights
from posefix_track import job
class Slow(StubEngine):
    calls = 0
    def __call__(self, *arguments):
        Slow.calls += 1
        if Slow.calls > 1:
            {{wait}}
        return super().__call__(*arguments)
make = job.PoseRefiner
stub = dict(weights=stub_weights(), engine=Slow(), flip=False)
job.PoseRefiner = lambda **options: make(**(options | stub))
class Spy(job.Journal):
    def add(self, *arguments):
        super().add(*arguments)
        print("frames are done", flush=True)
job.Journal = Spy
from posefix_track.__main__ import run
run()
"""
MUTEX = "mutex, c = ctypes.create_string_buffer(64), ctypes.CDLL(None)"
WAITS = {
    "python": "time.sleep(1)",
    # Locked twice, a mutex never returns, whatever signals come.
    "library": f"{MUTEX}; c.pthread_mutex_lock(mutex); c.pthread_mutex_lock(mutex)",
}


@pytest.mark.parametrize(
    ("number", "code", "wait"), [(signal.SIGINT, 130, "python"), (signal.SIGTERM, 143, "python"),
                                 (signal.SIGINT, 130, "library")]
)  # fmt: skip
def test_signals_stop_a_run_and_keep_what_is_done(
    files: Path, tmp_path: Path, number: signal.Signals, code: int, wait: str
) -> None:
    """How fast: python -m benchmarks.interrupt."""
    arguments = [files / "clip.mp4", "--poses", files / "poses.jsonl", "-o", tmp_path / "out.jsonl"]
    command = [sys.executable, "-c", PROGRAM.format(wait=WAITS[wait]), *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "frames are done\n"
        child.send_signal(number)
        assert child.wait(600) == code
        assert "--resume goes on" in child.stderr.read()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl.journal"]


def test_ctrl_c_says_how_to_go_on(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [files / "clip.mp4", "--poses", files / "poses.jsonl", "-o", tmp_path / "out.jsonl"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("posefix_track.cli.run_job", interrupted_job)
        assert main([str(argument) for argument in arguments]) == 130
    assert capsys.readouterr().err == (
        f"error: interrupted; 12 frames are kept in {tmp_path / 'out.jsonl.journal'};"
        " the same command with --resume goes on\n"
    )


def interrupted_job(given: Job, _: object) -> None:
    def progress(report: Report, _: int | None) -> None:
        if report.frames_with_poses >= 9:
            raise KeyboardInterrupt

    run_job(replace(given, refiner={**REFINER, "engine": StubEngine()}), progress)


def test_timeout_keeps_what_is_done(files: Path, tmp_path: Path) -> None:
    """However short the time, each run gets on."""
    runs = 0
    while not (tmp_path / "out.jsonl").exists():
        runs += 1
        try:
            run_job(job(files, tmp_path / "out.jsonl", resume=True, timeout_seconds=0))
        except IncompleteError as error:
            assert "as --timeout says" in str(error)
    assert runs == FRAMES * PEOPLE / 8 + 1
    assert_whole(files, tmp_path / "out.jsonl")

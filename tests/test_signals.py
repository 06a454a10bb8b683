"""Ctrl-C, SIGTERM and --timeout: the run ends soon, and what is done is kept."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.stub_run import StubEngine
from posefix_track.cli import main
from posefix_track.errors import IncompleteError
from posefix_track.job import Job, run_job
from posefix_track.report import Report
from tests.stub_jobs import PEOPLE, REFINER, assert_whole, job, write_files

ROOT = Path(__file__).parents[1]
FRAMES = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("files"), FRAMES)


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

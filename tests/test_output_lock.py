"""Of two runs on one output the second is refused at once, and no dead run stands in the way."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from posefix_track.errors import ResourceError, UsageError
from posefix_track.job import run_job
from posefix_track.report import Report
from tests.stub_jobs import assert_whole, job, write_files

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("files"), 12)


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


def fail(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the system answer a lock with this error."""

    def lock(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("posefix_track.journal.lock_descriptor", lock)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_will_do(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail(monkeypatch, number)
    run_job(job(files, tmp_path / "out.jsonl"))
    assert_whole(files, tmp_path / "out.jsonl")


def test_a_disk_that_fails_at_the_lock_is_named(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, errno.EIO)
    with pytest.raises(ResourceError, match=r"cannot write .*journal: Input/output error; choose another output"):
        run_job(job(files, tmp_path / "out.jsonl"))

"""HDF5 files are opened in a process of their own: what happens there does not happen here."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'posefix_track[hdf5]'")

from posefix_track.errors import InputError  # noqa: E402 - they need h5py
from posefix_track.formats import hdf5_process, read_poses  # noqa: E402
from posefix_track.formats.hdf5_process import ask, stop  # noqa: E402
from tests.test_formats_hdf5 import sleap_file  # noqa: E402

NOTHING: dict[str, Any] = {"datasets": {}, "attribute": None}
CHILD = "import os, time; from posefix_track.formats import hdf5_child as child; "


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    stop()
    yield
    stop()


def programmed(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Has the next process run ``program``."""
    stop()
    monkeypatch.setattr(hdf5_process, "_COMMAND", ("-P", "-c", CHILD + program))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("os.abort()", "crashed on it, exit code -6"),
        ("child.answer = lambda *_: os.kill(os.getpid(), 11); child.main()", "crashed on it, exit code -11"),
        ("child._SECONDS = 0.1; child.answer = lambda *_: time.sleep(600); child.main()", "took too long"),
        # Holds the lock of the interpreter as a library in C does.
        ("child._SECONDS = 0.1; child.answer = lambda *_: (9**9**7) ** 99; child.main()", "took too long"),
        ("os.write(1, bytes(8))", "exit code"),
        ("os.write(1, (20).to_bytes(8, 'little') + b'nothing of ours here')", "exit code"),
        ("os.write(1, (9).to_bytes(8, 'little') + b'short')", "exit code"),
    ],
)
def test_a_process_that_fails_is_an_error_and_the_next_file_is_read(
    program: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sleap_file(tmp_path)
    with monkeypatch.context() as patch:
        programmed(patch, program)
        with pytest.raises(InputError, match=message):
            read_poses(path)
    assert len(read_poses(path).sequences[0].frames) == 2


def test_files_are_read_by_the_same_process_until_one_is_refused(tmp_path: Path) -> None:
    path = sleap_file(tmp_path)
    read_poses(path)
    (first,) = hdf5_process._running
    read_poses(path)
    assert hdf5_process._running == [first]
    (tmp_path / "damaged.h5").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="not a valid HDF5 file"):
        read_poses(tmp_path / "damaged.h5")
    assert hdf5_process._running == []
    assert first.returncode == 0


def test_what_a_library_prints_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programmed(
        monkeypatch, "own = child.answer; child.answer = lambda *a: (os.write(1, b'printed'), own(*a))[1]; child.main()"
    )
    assert len(read_poses(sleap_file(tmp_path)).sequences[0].frames) == 2


def test_a_question_that_is_interrupted_leaves_no_answer_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sleap_file(tmp_path).read_bytes()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(hdf5_process, "receive", interrupted)
        ask(tmp_path, data, NOTHING, {})
    wanted = {"datasets": {"tracks": 4}, "attribute": None}
    assert ask(tmp_path, data, wanted, {})[1]["tracks"].shape == (2, 2, 17, 3)


def test_the_process_ends_with_the_one_that_asks(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from posefix_track.formats import hdf5_process, read_poses
read_poses(Path({str(sleap_file(tmp_path))!r}))
print(hdf5_process._running[0].pid)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_names_of_bytes_that_are_no_text_are_kept(tmp_path: Path) -> None:
    path = sleap_file(tmp_path, track_names=np.array([b"\xff\xfe", b"b\xc3\xb6b"]))
    poses = read_poses(path)
    assert poses.sequences[0].frames[1].track_ids == ("\udcff\udcfe", "böb")

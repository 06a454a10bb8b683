"""A short slice of ``python -m benchmarks.fuzz_readers_hdf5``, and what the fuzzer would find."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'posefix_track[hdf5]'")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are watched with inotify")

from benchmarks import fuzz_readers_hdf5  # noqa: E402 - it needs h5py
from benchmarks.fuzz_hdf5_files import samples  # noqa: E402
from benchmarks.fuzz_readers_hdf5 import Watch, ask_here, fuzz_hdf5, work  # noqa: E402
from posefix_track.errors import InputError  # noqa: E402
from posefix_track.formats import hdf5, hdf5_child, read_poses  # noqa: E402


@pytest.fixture
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the fuzzer's workers read; a new process after every refused file takes longer."""
    monkeypatch.setattr(hdf5, "ask", ask_here)


@pytest.mark.usefixtures("_in_this_process")
def test_strange_and_damaged_files_are_written_back_or_refused(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for number, found in work(0, 300, seed=1, folder=tmp_path):
        assert found.failures == {}, number
        outcomes.update(outcome for _, outcome in found.outcomes)
    assert outcomes["accepted"] + outcomes["refused"] == 300
    assert min(outcomes.values()) > 20


def test_a_reader_that_opens_another_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(_: object, path: Path, *__: object) -> str:
        with h5py.File(path) as file:
            return "accepted" if len(file["point_scores"]) else "refused"

    monkeypatch.setattr(fuzz_readers_hdf5, "outcome", careless)
    monkeypatch.setattr(fuzz_readers_hdf5, "strange", lambda folder, canary: {"linked: x": linked(folder, canary)})
    ((_, found),) = work(0, 1, seed=1, folder=tmp_path)
    assert [*found.failures] == ["linked: x had another file opened"]


def linked(folder: Path, canary: Path) -> Path:
    (folder / "a.h5").write_bytes(samples()["sleap_h5 earliest"])
    with h5py.File(folder / "a.h5", "r+") as file:
        del file["point_scores"]
        file["point_scores"] = h5py.ExternalLink(canary, "/tracks")
    return folder / "a.h5"


def test_links_to_other_files_open_none(tmp_path: Path) -> None:
    (tmp_path / "canary.h5").write_bytes(samples()["sleap_h5 earliest"])
    path = linked(tmp_path, tmp_path / "canary.h5")
    watch = Watch(tmp_path / "canary.h5")
    with pytest.raises(InputError, match="'point_scores' within the file"):
        read_poses(path)
    assert not watch.opened()
    with h5py.File(path) as file:
        assert file["point_scores"].ndim == 4
    assert watch.opened()


@pytest.mark.parametrize(("content", "found"), [(b"damaged", "refused"), (None, "accepted")])
def test_the_file_of_a_worker_that_dies_is_read_as_the_tool_does(
    content: bytes | None, found: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged.h5").write_bytes(content or samples()["sleap_h5 earliest"])
    line = '{{"number": {}, "outcomes": [["a", "refused"]], "failures": {{}}, "slowest": 0}}'
    program = f"""
import os, sys
first = int(sys.argv[1])
if first == 0:
    print('{line.format(0)}', flush=True)
    os.kill(os.getpid(), 11)
print('{line.format(2)}')
"""
    findings = fuzz_hdf5(3, 5, tmp_path, tmp_path / "kept", command=(sys.executable, "-c", program))
    assert findings.failures == {}
    assert findings.outcomes == {("a", "refused"): 2, ("worker", found): 1}
    assert "execution 1: a worker ended with SIGSEGV; the tool: " in capfd.readouterr().out
    assert (tmp_path / "kept" / "died-1.h5").exists()
    with pytest.raises(RuntimeError, match="the fuzzer itself failed in execution 0"):
        fuzz_hdf5(1, 5, tmp_path, command=(sys.executable, "-c", "raise SystemExit(3)"))


@pytest.mark.usefixtures("_in_this_process")
def test_names_that_share_a_long_string_cost_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_child, "_MOST_TEXT", 1000)
    path = tmp_path / "a.h5"
    path.write_bytes(samples()["sleap_h5 earliest"])
    with h5py.File(path, "r+") as file:
        del file["track_names"]
        file.create_dataset("track_names", data=np.array(["a" * 600] * 2, object), dtype=h5py.string_dtype())
    with pytest.raises(InputError, match="track_names has more than 1000 bytes of names"):
        read_poses(path)


@pytest.mark.usefixtures("_in_this_process")
def test_every_execution_can_be_repeated(tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append([found.outcomes for _, found in work(200, 210, seed=3, folder=tmp_path / name)])
    assert runs[0] == runs[1]
    assert (tmp_path / "a" / "damaged.h5").read_bytes() == (tmp_path / "b" / "damaged.h5").read_bytes()

"""Disks that are full, folders that take nothing, outputs that must not be: one sentence, and nothing is lost."""

import errno
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from posefix_track import journal
from posefix_track.cli import main
from posefix_track.errors import PosefixError, ResourceError, UsageError
from posefix_track.formats.atomic import beside, remove_leftovers, temporary_path, write_file, write_folder
from posefix_track.job import run_job
from tests.stub_jobs import assert_whole, job, write_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("files"), 16)


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """The system refuses to write beyond ``size`` bytes of any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.09, 0.2, 0.4, 0.6, 0.75, 0.9, 0.99])
def test_a_full_disk_loses_nothing(files: Path, tmp_path: Path, share: float) -> None:
    """Wherever the disk is full, an older output stays, no unfinished file does, and --resume goes on."""
    output, size = tmp_path / "out.jsonl", int(share * (files / "refined.jsonl").stat().st_size)
    output.write_text("old")
    with files_no_longer_than(size), pytest.raises(ResourceError, match=r"cannot write .*: File too large") as caught:
        run_job(job(files, output, overwrite=True))
    assert caught.value.exit_code == 5 and output.read_text() == "old"
    left = {path.name for path in tmp_path.iterdir()} - {"out.jsonl"}
    assert left <= {"out.jsonl.journal"} and bool(left) == hasattr(caught.value, "__notes__")
    report = run_job(job(files, output, overwrite=not left, resume=True)).report
    assert_whole(files, output)
    assert (report.frames_resumed > 0) == bool(left)


def test_a_full_disk_leaves_no_half_overlay(files: Path, tmp_path: Path) -> None:
    with files_no_longer_than(2000), pytest.raises(ResourceError, match="cannot write"):
        run_job(job(files, tmp_path / "out.jsonl", save_video=tmp_path / "overlay.mp4"))
    assert {path.name for path in tmp_path.iterdir()} <= {"out.jsonl.journal"}


class FailingFile:
    """A file on which the ``fail_at``-th write takes half of the data and the next one finds the disk full."""

    def __init__(self, file: object, fail_at: int) -> None:
        self._file, self._left = file, fail_at

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = data if self._left else data[: len(data) // 2 + 1]
        return self._file.write(part)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("fail_at", range(7))
def test_the_journal_is_sound_whichever_write_fails(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    locked = journal._locked
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_locked", lambda *paths: FailingFile(locked(*paths), fail_at))
        with pytest.raises(ResourceError, match=r"cannot write .*journal \(\d+ bytes\): No space left on device"):
            run_job(job(files, tmp_path / "out.jsonl"))
    run_job(job(files, tmp_path / "out.jsonl", resume=True))
    assert_whole(files, tmp_path / "out.jsonl")


def test_too_little_space_is_found_before_the_work(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr("posefix_track.output_paths.shutil.disk_usage", lambda _: SimpleNamespace(free=10_000))
    monkeypatch.setattr("posefix_track.job.refined_groups", never)
    with pytest.raises(ResourceError, match=r"has 0\.0 MB free, but 0\.0 MB are needed for out\.jsonl"):
        run_job(job(files, tmp_path / "out.jsonl"))
    assert list(tmp_path.iterdir()) == []


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may write anywhere, so that the test must be somebody else."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_folder_that_takes_no_files(files: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "read_only"
        folder.mkdir()
        folder.chmod(0o555)
        Path(name).chmod(0o755)
        with without_rights(), pytest.raises(ResourceError, match=r"Permission denied; choose another output with -o"):
            run_job(job(files, folder / "out.jsonl"))
        assert list(folder.iterdir()) == []


def test_a_file_where_a_folder_should_be(files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot write .*(Not a directory|File exists)"):
        run_job(job(files, tmp_path / "file" / "out.jsonl"))


def linked(make: Callable[[Path, Path], None]) -> Callable[[Path, Path], dict[str, object]]:
    def prepared(files: Path, folder: Path) -> dict[str, object]:
        poses = folder / "poses.jsonl"
        poses.write_bytes((files / "poses.jsonl").read_bytes())
        make(poses, folder / "out.jsonl")
        return {"poses": poses, "overwrite": True}

    return prepared


def folder_in_the_way(files: Path, folder: Path) -> dict[str, object]:
    (folder / "out.jsonl" / "poses.jsonl").mkdir(parents=True)
    return {"overwrite": True}


def poses_named_as_report(files: Path, folder: Path) -> dict[str, object]:
    poses = folder / "out.jsonl.report.json"
    poses.write_bytes((files / "poses.jsonl").read_bytes())
    return {"poses": poses}


def video_on_poses(files: Path, folder: Path) -> dict[str, object]:
    return {"save_video": folder / "out.jsonl"}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (linked(lambda poses, output: output.symlink_to(poses)), "is an input of this run"),
        (linked(lambda poses, output: output.hardlink_to(poses)), "is the input itself"),
        (folder_in_the_way, "is a folder, but"),
        (poses_named_as_report, "is an input of this run"),
        (video_on_poses, "is to hold two outputs"),
    ],
)
def test_impossible_outputs_are_refused_before_the_work(
    files: Path, tmp_path: Path, prepare: Callable[[Path, Path], dict[str, object]], message: str
) -> None:
    options = prepare(files, tmp_path)
    before = {path.name: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=message):
        run_job(job(files, tmp_path / "out.jsonl", **options))
    assert {path.name: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_command_line_says_it_in_one_line(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [files / "clip.mp4", "--poses", files / "poses.jsonl", "-o", files / "poses.jsonl"]
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: ") and not captured.out


def test_the_present_folder_is_an_output(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_job(job(files, Path()))
    assert_whole(files, tmp_path / "poses.jsonl")


@pytest.mark.parametrize("name", ["n" * 255, "\u00fc" * 127, "n" * 240])
def test_names_as_long_as_they_can_be(files: Path, tmp_path: Path, name: str) -> None:
    run_job(job(files, tmp_path / name))
    assert_whole(files, tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2


def test_names_beside_long_names_differ(tmp_path: Path) -> None:
    names = {beside(tmp_path / ("n" * 254 + letter), ".journal").name for letter in "ab"}
    assert len(names) == 2 and all(name.endswith(".journal") and len(name) <= 255 for name in names)


def test_unfinished_files_of_killed_runs_are_removed(files: Path, tmp_path: Path) -> None:
    output, video = tmp_path / "out.jsonl", tmp_path / "overlay.mp4"
    for path in (output, video, tmp_path / "another"):
        temporary_path(path).write_text("half")
    another = next(path for path in tmp_path.iterdir() if temporary_path(tmp_path / "another").name[:20] in path.name)
    run_job(job(files, output, save_video=video))
    assert {path.name for path in tmp_path.iterdir()} == {
        "out.jsonl", "out.jsonl.report.json", "overlay.mp4", another.name,
    }  # fmt: skip


def pieces_then_error() -> Iterator[bytes]:
    yield b"a" * 100_000
    raise PosefixError("no more")


def test_content_that_ends_in_an_error_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with pytest.raises(PosefixError):
        write_file(tmp_path / "old", pieces_then_error())
    with pytest.raises(PosefixError):
        write_folder(tmp_path / "new", {"a": b"a", "b": pieces_then_error()})
    assert [path.name for path in tmp_path.iterdir()] == ["old"] and (tmp_path / "old").read_text() == "old"


def test_leftovers_of_other_outputs_stay(tmp_path: Path) -> None:
    temporary_path(tmp_path / "a").write_text("half")
    remove_leftovers(tmp_path / "b")
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []

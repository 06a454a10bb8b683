"""Resuming where the pictures are a folder, some are missing, only a part is wanted, or there are several sequences."""

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.long_run import watched_run
from benchmarks.stub_run import StubEngine, stub_weights, write_clip, write_poses
from posefix_track.errors import ResourceError
from posefix_track.frames import Frame
from posefix_track.job import Job, Outcome, run_job
from posefix_track.refine import Options
from posefix_track.report import Report
from posefix_track.video import VideoFile, open_source
from tests.format_samples import posetrack18, simple_scene

SIZE, FRAMES = (64, 80), 30


class StoppedError(Exception):
    """Stands for whatever may end a run."""


def refined(source: Path, poses: Path, output: Path, stop_at: int | None = None, **options: object) -> Outcome:
    def progress(report: Report, _: int | None) -> None:
        if stop_at is not None and report.frames_with_poses >= stop_at:
            raise StoppedError

    refiner = {"weights": stub_weights(), "engine": StubEngine(), "flip": False}
    given = Options(max_missing=1, **options)  # type: ignore[arg-type]
    return run_job(Job(source, poses, output, resume=True, options=given, refiner=refiner), progress)


def assert_resumed_like_whole(source: Path, poses: Path, folder: Path, stop_at: int, **options: object) -> Report:
    """The same bytes and the same counts; returns the report."""
    whole = refined(source, poses, folder / "whole", **options).report
    with pytest.raises(StoppedError):
        refined(source, poses, folder / "out", stop_at, **options)
    resumed = refined(source, poses, folder / "out", **options).report
    assert contents(folder / "out") == contents(folder / "whole") and resumed.frames_resumed > 0
    names = ("frames", "people", "joints_moved", "people_passed_through", "missing_frames", "missing", "warnings")
    assert [getattr(resumed, name) for name in names] == [getattr(whole, name) for name in names]
    return resumed


def contents(output: Path) -> dict[str, bytes]:
    files = output.iterdir() if output.is_dir() else [output]
    return {path.name if output.is_dir() else "": path.read_bytes() for path in files}


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    write_poses(tmp_path / "poses.jsonl", FRAMES, 3, SIZE)
    return tmp_path / "poses.jsonl"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip.mp4", FRAMES, SIZE)
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize("stop_at", [1, 20])
def test_a_part_of_a_video(clip: Path, poses: Path, tmp_path: Path, stop_at: int) -> None:
    report = assert_resumed_like_whole(clip, poses, tmp_path, min(stop_at, 9), frames=(7, 21))
    assert report.frames == 15 and report.people_passed_through == {"outside --frames": 45}


def test_a_video_that_ends_too_early(poses: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "short.mp4", 20, SIZE)
    report = assert_resumed_like_whole(tmp_path / "short.mp4", poses, tmp_path, 15)
    assert report.missing_frames == 10 and "frame 20: the video has 20 frames" in report.missing[0]


def test_frames_that_a_damaged_video_lacks_are_missing_after_a_resume_too(
    clip: Path, poses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames 3 and 25 do not decode; the run is stopped between the two."""
    whole = VideoFile.read_from

    def read_from(self: VideoFile, first: int) -> object:
        return (frame for frame in whole(self, first) if frame.index not in (3, 25))

    monkeypatch.setattr(VideoFile, "read_from", read_from)
    report = assert_resumed_like_whole(clip, poses, tmp_path, 12)
    assert report.missing_frames == 2 and [name[:8] for name in report.missing] == ["frame 3:", "frame 25"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The images of the simple scene."""
    folder = tmp_path / "images" / "012834_mpii_test"
    folder.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), np.full((480, 640, 3), 40 * number, np.uint8))
    return tmp_path / "images"


def test_sequences_of_a_folder(pictures: Path, tmp_path: Path) -> None:
    """Three sequences share their pictures; the run is stopped in the second one."""
    folder = tmp_path / "posetrack"
    folder.mkdir()
    (text,) = posetrack18(simple_scene()).files.values()
    for name in ("a", "b", "c"):
        (folder / f"{name}.json").write_text(text)
    report = assert_resumed_like_whole(pictures, folder, tmp_path, 3)
    assert report.people == 9 and len(contents(tmp_path / "out")) == 3


def test_missing_pictures_of_a_folder(pictures: Path, tmp_path: Path) -> None:
    (pictures / "012834_mpii_test" / "000000.jpg").unlink()
    folder = tmp_path / "posetrack"
    folder.mkdir()
    (text,) = posetrack18(simple_scene()).files.values()
    for name in ("a", "b"):
        (folder / f"{name}.json").write_text(text)
    report = assert_resumed_like_whole(pictures, folder, tmp_path, 1)
    assert report.missing_frames == 2


@pytest.mark.parametrize("make", [lambda clip: clip, lambda clip: clip.parent / "images"])
def test_passing_over_frames_gives_the_others_as_they_are(
    clip: Path, pictures: Path, make: Callable[[Path], Path]
) -> None:
    def told(frame: Frame) -> tuple[int, float, bytes]:
        return frame.index, frame.time_seconds, frame.image.tobytes()

    with open_source(make(clip)) as source:
        frames = [told(frame) for frame in source]
        for first in (0, 1, len(frames) - 1, len(frames)):
            assert [told(frame) for frame in source.read_from(first)] == frames[first:]


def test_a_decoder_that_hangs_ends_the_run_with_what_is_done(
    clip: Path, poses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, never = VideoFile.read_from, threading.Event()

    def read_from(self: VideoFile, first: int) -> object:
        for frame in whole(self, first):
            if frame.index == 20:
                never.wait()
            yield frame

    with monkeypatch.context() as patch:
        patch.setattr(VideoFile, "read_from", read_from)
        patch.setattr("posefix_track.refine._PATIENCE_SECONDS", 1.0)
        with pytest.raises(ResourceError, match=r"clip\.mp4 has given no picture for 1 seconds") as caught:
            refined(clip, poses, tmp_path / "out")
    assert "frames are kept" in caught.value.__notes__[0]
    never.set()
    assert refined(clip, poses, tmp_path / "out").report.frames_resumed > 0


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    """An hour: python -m benchmarks.long_run."""
    watch, report = watched_run(tmp_path, 800, 1, mark_frame=100)
    assert report.frames == 800 and watch.mark_mb is not None
    # Pictures in work, the batch that is written, and what the allocator keeps; pictures held would be 40 MB.
    assert watch.growth_mb < 30

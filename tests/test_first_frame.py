"""Poses whose frames are not numbered from 0, or that were made on another size of the video."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.stub_run import StubEngine
from posefix_track.errors import InputError
from posefix_track.formats import read_poses
from posefix_track.job import run_job
from posefix_track.keypoints import COCO_17
from posefix_track.pairing import people_outside
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refine import Options, refine_sequence
from posefix_track.refiner import PoseRefiner
from posefix_track.report import Report
from posefix_track.video import open_source
from tests.stub_jobs import REFINER, job, write_files

# Many enough that one frame is not more than the share that may be missing.
FRAMES = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip, poses whose first frame is 0 and what becomes of them, and the same poses numbered from 1 and from 7."""
    folder = write_files(tmp_path_factory.mktemp("files"), FRAMES)
    for first in (1, 7):
        (folder / f"from{first}.jsonl").write_text(renumbered((folder / "poses.jsonl").read_text(), first))
    return folder


def renumbered(lines: str, first: int) -> str:
    return re.sub(r'"frame":(\d+)', lambda found: f'"frame":{int(found[1]) + first}', lines)


@pytest.mark.parametrize("first", [1, 7])
def test_poses_meet_the_pictures_that_they_were_made_on(files: Path, tmp_path: Path, first: int) -> None:
    asked = job(files, tmp_path / "out.jsonl", poses=files / f"from{first}.jsonl", options=Options(first_frame=first))
    assert run_job(asked).report.missing_frames == 0
    assert (tmp_path / "out.jsonl").read_text() == renumbered((files / "refined.jsonl").read_text(), first)


def test_poses_that_seem_to_count_from_1_are_told_how_to_say_so(files: Path, tmp_path: Path) -> None:
    report = run_job(job(files, tmp_path / "out.jsonl", poses=files / "from1.jsonl")).report
    assert report.missing_frames == 1
    assert re.match(rf"frame {FRAMES}: the video has {FRAMES} frames, .* --first-frame 1$", report.missing[0])


def test_other_poses_beyond_the_end_are_not_said_to_count_from_1(files: Path, tmp_path: Path) -> None:
    poses = tmp_path / "long.jsonl"
    lines = (files / "poses.jsonl").read_text()
    poses.write_text(lines + lines.splitlines()[-1].replace(f'"frame":{FRAMES - 1}', f'"frame":{FRAMES}') + "\n")
    report = run_job(job(files, tmp_path / "out.jsonl", poses=poses)).report
    assert report.missing == [f"frame {FRAMES}: the video has {FRAMES} frames"]


def test_poses_before_the_first_frame_stop_the_run_or_pass_through(files: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"1 of {FRAMES} frames .*clip.mp4, such as frame 0;"):
        run_job(job(files, tmp_path / "out.jsonl", options=Options(first_frame=1)))
    report = run_job(job(files, tmp_path / "out.jsonl", options=Options(first_frame=1, max_missing=1))).report
    assert report.missing == ["frame 0: the first frame is said to be 1"]


def test_poses_of_a_larger_video_are_doubted(files: Path, tmp_path: Path) -> None:
    header, *lines = (files / "poses.jsonl").read_text().splitlines()
    for factor, doubted in ((1, False), (3, True)):
        poses = tmp_path / f"times{factor}.jsonl"
        poses.write_text("\n".join([header, *(scaled(line, factor) for line in lines)]) + "\n")
        warnings = run_job(job(files, tmp_path / f"out{factor}.jsonl", poses=poses)).report.warnings
        assert bool(warnings) == doubted
    assert re.match(r"\d+ of 48 people lie outside the 80x64 pixels of .*clip\.mp4; check", warnings[0])


def test_close_ups_with_joints_below_the_picture_are_not_doubted() -> None:
    keypoints = np.full((1, 17, 2), 500, np.float32)
    keypoints[0, 0] = 30
    poses = PoseSequence(COCO_17, (FramePoses(keypoints, 0),))
    source: Any = SimpleNamespace(kind="video", width=80, height=64, path="clip.mp4")
    assert people_outside(source, poses) is None
    keypoints[0, 0] = 500
    assert people_outside(source, poses) == (
        "1 of 1 people lie outside the 80x64 pixels of clip.mp4; check that the poses were made on this video, and in"
        " this size"
    )


def scaled(line: str, factor: int) -> str:
    frame = json.loads(line)
    for pose in frame["poses"]:
        pose["keypoints"] = [[factor * x, factor * y, score] for x, y, score in pose["keypoints"]]
    return json.dumps(frame)


def test_pictures_of_a_folder_are_numbered_in_the_same_way(files: Path, tmp_path: Path) -> None:
    for i in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"{i:03}.png"), np.full((64, 80, 3), 10 * i, np.uint8))
    moved = []
    for name, first in (("poses", 0), ("from7", 7)):
        poses = read_poses(files / f"{name}.jsonl").sequences[0]
        refiner = PoseRefiner(engine=StubEngine(), **REFINER)  # type: ignore[arg-type]
        with open_source(tmp_path) as source:
            after = refine_sequence(source, poses, refiner, Report(), Options(first_frame=first))
        moved.append(np.stack([frame.keypoints for frame in after.frames]))
    np.testing.assert_array_equal(*moved)

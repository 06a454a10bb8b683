"""The command line as a user meets it: files out, exit codes, one clear line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.cli import main
from posefix_track.figures import render_clip
from posefix_track.figures.tracker import tracked
from posefix_track.formats import read_poses, write_native
from posefix_track.job import Job, run_job
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.video import VideoWriter, open_source
from posefix_track.weights import Weights, save_weights

SIZE = (120, 160)
FRAMES = 8
Run = Callable[..., int]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip, poses for it, and untrained weights."""
    folder = tmp_path_factory.mktemp("files")
    truth = list(render_clip(FRAMES, 2, SIZE, seed=1))
    with VideoWriter(folder / "clip.mp4", SIZE[1], SIZE[0], Fraction(25)) as writer:
        for frame in truth:
            writer.write(frame.image)
    write_native(folder / "tracks.jsonl", tracked(truth, 0), {"path": "clip.mp4"})
    torch.manual_seed(0)
    save_weights(folder / "random.safetensors", PoseFix(NetworkConfig(input_size=(64, 64))), {})
    return folder


@pytest.fixture
def run(files: Path, tmp_path: Path) -> Run:
    def run(*arguments: object, source: object = None, poses: object = None, output: str = "out.jsonl") -> int:
        source, poses = source or files / "clip.mp4", poses or files / "tracks.jsonl"
        fixed = ["--weights", files / "random.safetensors", "--engine", "torch", "--no-gate", "-o", tmp_path / output]
        return main([str(a) for a in (source, "--poses", poses, *fixed, *arguments)])

    return run


def test_refines_a_video_and_says_so_in_one_line(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and "out.jsonl: moved" in out and "torch cpu fp32" in out and not err
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert (report["frames"], report["people"], report["missing_frames"]) == (FRAMES, 2 * FRAMES, 0)
    assert report["engine"] == "torch cpu fp32" and report["versions"]["torch"]


def test_keeps_people_ids_order_and_every_other_field(run: Run, files: Path, tmp_path: Path) -> None:
    assert run() == 0
    before = [json.loads(line) for line in (files / "tracks.jsonl").read_text().splitlines()]
    after = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert before != after
    assert _without_xy(before) == _without_xy(after)


def _without_xy(lines: list[Any]) -> list[Any]:
    for line in lines[1:]:
        for pose in line["poses"]:
            pose["keypoints"] = [joint[2:] for joint in pose["keypoints"]]
    return lines


def test_overlay_video_has_every_frame_at_the_source_rate(run: Run, tmp_path: Path) -> None:
    assert run("--save-video", tmp_path / "overlay.mp4", "--compare") == 0
    with open_source(tmp_path / "overlay.mp4") as video:
        frames = list(video)
    assert len(frames) == FRAMES and video.fps == 25 and frames[0].image.shape[1] >= 2 * SIZE[1]


def test_no_work_is_done_for_a_video_that_cannot_be_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--save-video", tmp_path / "overlay.avi") == 2
    assert "its name must end in .mp4, not '.avi'" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_json_report_goes_to_stdout(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--frames", "2-4") == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 3


def test_output_is_not_overwritten_unless_asked(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0 and run() == 2
    assert "already exists" in capsys.readouterr().err
    assert run("--overwrite") == 0


def test_pose_file_goes_into_an_existing_folder_under_its_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert run(output="folder") == 0
    assert (tmp_path / "folder" / "tracks.jsonl").is_file()


def test_a_slash_at_the_end_makes_a_folder(run: Run, tmp_path: Path) -> None:
    assert run("-o", f"{tmp_path}/new/") == 0
    assert (tmp_path / "new" / "tracks.jsonl").is_file()


def test_nothing_is_written_to_a_file_called_minus(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "-") == 2
    assert "give -o a name" in capsys.readouterr().err


def test_a_reader_who_leaves_early_is_no_error(files: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "posefix_track", "convert", files / "tracks.jsonl", "--to", "coco"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*command, "-o", tmp_path / "out.json"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"") and (tmp_path / "out.json").is_file()


def test_default_output_stands_beside_the_poses(files: Path, tmp_path: Path) -> None:
    poses = tmp_path / "t.jsonl"
    poses.write_bytes((files / "tracks.jsonl").read_bytes())
    weights = str(files / "random.safetensors")
    assert main([str(files / "clip.mp4"), "--poses", str(poses), "--weights", weights, "--engine", "torch"]) == 0
    assert (tmp_path / "t.refined.jsonl").is_file()


def test_missing_frames_are_named_and_pass_through(
    run: Run, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poses = tmp_path / "late.jsonl"
    lines = (files / "tracks.jsonl").read_text().splitlines()
    poses.write_text("\n".join([*lines, lines[-1].replace(f'"frame":{FRAMES - 1}', '"frame":90')]) + "\n")
    assert run(poses=poses) == 3
    assert "1 of 9 frames with poses are not in" in capsys.readouterr().err and not (tmp_path / "out.jsonl").exists()
    assert run("--max-missing", "1", "--strict", poses=poses) == 1
    assert run("--max-missing", "1", "--overwrite", poses=poses) == 4
    assert "frame 90: the video has 8 frames" in capsys.readouterr().err
    last = [read_poses(p).sequences[0].frames[-1].keypoints for p in (poses, tmp_path / "out.jsonl")]
    np.testing.assert_array_equal(*last)


def test_strict_wants_everybody_looked_at(
    run: Run, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--strict", "--frames", "1-5") == 0
    far = tmp_path / "far.jsonl"
    header, first, *rest = (files / "tracks.jsonl").read_text().splitlines()
    poses = json.loads(first)
    poses["poses"][0]["keypoints"] = [[9000 + x, y, score] for x, y, score in poses["poses"][0]["keypoints"]]
    far.write_text("\n".join([header, json.dumps(poses), *rest]) + "\n")
    capsys.readouterr()
    assert run("--overwrite", poses=far) == 0
    assert run("--overwrite", "--strict", poses=far) == 1
    assert "passed through unchanged: 1 people outside the picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        ("", "empty"),
        ("not json", "not valid JSON"),
        ('{"a": 1}', "no known pose format"),
        ('[{"image_id": 1, "keypoints": [1, 2', "line 1"),
    ],
)
def test_bad_pose_files_get_one_line_and_leave_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], poses: str, message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(poses)
    assert run(poses=path) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error and "bad.json" in error
    assert [p.name for p in tmp_path.iterdir()] == ["bad.json"]


@pytest.mark.parametrize("source", ["missing.mp4", "https://example.org/a.mp4"])
def test_bad_videos_get_one_line(run: Run, capsys: pytest.CaptureFixture[str], source: str) -> None:
    assert run(source=source) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_usage_errors_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    with pytest.raises(SystemExit) as caught:
        main(["--frames", "9-1"])
    assert caught.value.code == 2


@pytest.mark.parametrize("command", [["clip.mp4", "poses.json"], ["convert", "poses.json"], ["quantise", "clip.mp4"]])
def test_wrong_arguments_get_one_line_that_says_what_is_expected(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1
    assert "usage: posefix-track " in error and "--help" in error and len(error) < 250


def test_a_range_without_poses_is_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--frames", "100-200") == 4
    assert "no poses lie within --frames" in capsys.readouterr().err


def test_ctrl_c_while_libraries_are_loaded_is_no_traceback() -> None:
    program = """
import sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "torch":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
from posefix_track.__main__ import run
run()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted; nothing was written\n")


def test_engines_and_devices_never_fall_back(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA, so asking for it is no error")
    assert run("--device", "cuda") == 5
    assert "CUDA" in capsys.readouterr().err


def test_interruption_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("posefix_track.job.refined_groups", interrupted)
    assert run("--save-video", tmp_path / "overlay.mp4") == 130
    assert list(tmp_path.iterdir()) == []


class Identity:
    """An engine that returns its input pose."""

    name, max_batch = "identity", 8

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return keypoints, np.ones((*present.shape, 2), np.float32)


NUMBER = st.floats(0, 300).map(lambda x: f"{x:.3f}") | st.integers(0, 300).map(str) | st.just("0")


@given(st.lists(st.lists(NUMBER, min_size=51, max_size=51), min_size=1, max_size=4), st.sampled_from(["", " ", "\n "]))
@settings(max_examples=15, deadline=None)
def test_identity_engine_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, people: list[list[str]], space: str
) -> None:
    folder = tmp_path_factory.mktemp("identity")
    cv2.imwrite(str(folder / "000000000001.jpg"), np.zeros((200, 200, 3), np.uint8))
    rows = (f'{{"image_id":{space}1, "keypoints": [{f",{space}".join(p)}], "x": 1.50}}' for p in people)
    (folder / "in.json").write_text("[" + f",{space}".join(rows) + "]\n")
    loaded = Weights(PoseFix(NetworkConfig(input_size=(64, 64))), {}, "")
    job = Job(folder, folder / "in.json", folder / "out.json", refiner={"weights": loaded, "engine": Identity()})
    run_job(job)
    assert (folder / "out.json").read_bytes() == (folder / "in.json").read_bytes()


@pytest.mark.parametrize("text", ["-1", "-0.5", "nan", "soon"])
def test_timeout_is_no_negative_number(run: Run, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(f"--timeout={text}")
    assert caught.value.code == 2
    assert f"expected seconds, 0 or more, got '{text}'" in capsys.readouterr().err

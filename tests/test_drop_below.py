"""--drop-below: doubtful joints become absent where they stand; people, ids and everything else stay."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.stub_run import StubEngine, stub_weights, write_clip, write_poses
from posefix_track.cli import main
from posefix_track.errors import UsageError
from posefix_track.formats import PoseFile, read_poses
from posefix_track.job import Job, run_job
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refine import Options, count_result, finished
from posefix_track.refiner import RefinedPoses
from posefix_track.report import Report
from posefix_track.weights import Weights
from tests.format_samples import BUILDERS, sample_of

# The joint of the first person that nobody believes in; the other people are doubted altogether.
DOUBTFUL = 2
FORMATS = sorted(set(BUILDERS) - {"posetrack17"})


def judged(frame: FramePoses) -> RefinedPoses:
    """No joint has moved; joint 2 of the first person, and all joints of the others, are expected to be wrong."""
    shape = frame.keypoints.shape[:2]
    expected = np.full(shape, 0.1, np.float32)
    expected[:1] = 0.9
    expected[:1, DOUBTFUL] = 0.1
    nothing = np.zeros(shape, bool)
    return RefinedPoses(frame.keypoints, expected, nothing, nothing.astype(np.float32), np.ones(len(frame), bool))


def dropped(poses: PoseFile, least: float | None) -> Iterator[PoseSequence]:
    options = Options(drop_below=least)
    for sequence in poses.sequences:
        yield replace(sequence, frames=tuple(finished(frame, judged(frame), options) for frame in sequence.frames))


def frames(poses: PoseFile) -> list[FramePoses]:
    return [frame for sequence in poses.sequences for frame in sequence.frames]


@pytest.mark.parametrize("name", FORMATS)
def test_doubtful_joints_are_absent_in_every_format(name: str, tmp_path: Path) -> None:
    sample = sample_of(name)
    before = read_poses(sample.place(tmp_path), format=sample.format, **sample.options)
    before.write(tmp_path / "out", [*dropped(before, 0.5)])
    after = read_poses(tmp_path / "out", format=sample.format, **sample.options)
    people = 0
    for old, new in zip(frames(before), frames(after), strict=True):
        kept = np.zeros_like(old.present)
        kept[:1] = old.present[:1]
        kept[:1, DOUBTFUL] = False
        # DeepLabCut and SLEAP list an individual without joints as one that is not there.
        people += len(new)
        np.testing.assert_array_equal(new.present[:1], kept[: len(new)][:1])
        assert not new.present[1:].any() and (len(new) == len(old) or name in ("deeplabcut", "deeplabcut_single"))
        assert new.track_ids == (old.track_ids if len(new) == len(old) else (old.track_ids or ())[: len(new)] or None)
        np.testing.assert_array_equal(new.keypoints[:1][kept[:1]], old.keypoints[:1][kept[:1]])
    assert people


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_dropped_unless_asked_for(name: str, tmp_path: Path) -> None:
    sample = sample_of(name)
    poses = read_poses(sample.place(tmp_path), format=sample.format, **sample.options)
    poses.write(tmp_path / "out", [*dropped(poses, None)])
    written = [tmp_path / "out" / t.path.name if poses.is_folder else tmp_path / "out" for t in poses.texts]
    assert [path.read_bytes() for path in written] == [text.data for text in poses.texts]


def test_coco_gets_three_zeros_for_a_joint(tmp_path: Path) -> None:
    poses = read_poses(sample_of("coco").place(tmp_path))
    poses.write(tmp_path / "out.json", [*dropped(poses, 0.5)])
    old, new = (json.loads(path.read_text()) for path in (poses.path, tmp_path / "out.json"))
    assert [row["track_id"] for row in new] == [row["track_id"] for row in old]
    assert new[0]["keypoints"][3 * DOUBTFUL : 3 * DOUBTFUL + 3] == [0, 0, 0]
    assert set(new[1]["keypoints"]) == {0} and new[1]["score"] == old[1]["score"]


def test_posetrack_gets_a_flag_of_zero_too(tmp_path: Path) -> None:
    poses = read_poses(sample_of("posetrack18").place(tmp_path))
    poses.write(tmp_path / "out.json", [*dropped(poses, 0.5)])
    first = json.loads((tmp_path / "out.json").read_text())["annotations"][0]
    assert first["keypoints"][3 * DOUBTFUL : 3 * DOUBTFUL + 3] == [0, 0, 0] and first["scores"][DOUBTFUL] == 0
    assert first["keypoints"][2] == 1


def test_only_what_the_network_has_judged_is_dropped() -> None:
    keypoints = np.full((1, 4, 2), 50, np.float32)
    keypoints[0, 1] = 0
    frame = FramePoses(keypoints, frame_index=0, scores=np.ones((1, 4), np.float32))
    # Seen and bad; absent and bad; not known to the network; seen and good.
    expected = np.array([[0.2, 0.2, np.nan, 0.8]], np.float32)
    none = np.zeros((1, 4), bool)
    result = RefinedPoses(keypoints, expected, none, none.astype(np.float32), np.ones(1, bool))
    report, options = Report(), Options(drop_below=0.5, scores="refined")
    count_result(frame, result, options, report)
    after = finished(frame, result, options)
    assert report.joints_dropped == 1 and after.scores is not None
    np.testing.assert_array_equal(after.keypoints[0, :, 0], [0, 0, 50, 50])
    np.testing.assert_array_equal(after.scores[0], np.float32([0, 1, 1, 0.8]))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip.mp4", 6, (64, 80))
    write_poses(tmp_path / "poses.jsonl", 6, 2, (64, 80))
    return tmp_path


def job(files: Path, weights: Weights, poses: str = "poses.jsonl", **options: object) -> Job:
    refiner = {"weights": weights, "engine": StubEngine(), "flip": False}
    return Job(files / "clip.mp4", files / poses, files / "out", options=Options(**options), refiner=refiner)  # type: ignore[arg-type]


def test_a_run_counts_what_it_drops(files: Path) -> None:
    """The stub expects 0.9 of every joint that it moves."""
    report = run_job(job(files, stub_weights(), drop_below=0.95)).report
    assert report.joints_dropped == report.joints == 6 * 2 * 17
    assert not any(frame.present.any() for frame in frames(read_poses(files / "out")))


def test_joints_at_the_limit_stay(files: Path) -> None:
    report = run_job(job(files, stub_weights(), drop_below=float(np.float32(0.9)))).report
    assert report.joints_dropped == 0


@pytest.mark.parametrize("options", [{"drop_below": 0.5}, {"scores": "refined"}])
def test_weights_that_judge_nothing_are_refused(files: Path, options: dict[str, object]) -> None:
    mute = Weights(PoseFix(NetworkConfig(input_size=(64, 64), confidence=False)), {}, "")
    with pytest.raises(UsageError, match=r"say nothing about keypoint similarity; leave out --(drop|scores)"):
        run_job(job(files, mute, **options))
    assert not (files / "out").exists()


def test_a_format_that_lists_joints_is_refused(files: Path) -> None:
    sample_of("posetrack17").place(files)
    name = next(iter(sample_of("posetrack17").files))
    with pytest.raises(UsageError, match=r"posetrack17 lists only joints that are there.*--to posetrack18"):
        run_job(job(files, stub_weights(), poses=name, drop_below=0.5))


@pytest.mark.parametrize("text", ["2", "-0.1", "nan", "much"])
def test_the_limit_is_a_similarity(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["clip.mp4", "--drop-below", text])
    assert caught.value.code == 2 and "expected a similarity from 0 to 1" in capsys.readouterr().err

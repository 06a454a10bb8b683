"""--scores refined: joints get their expected similarity, people their tracker's score times its mean."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.stub_run import StubEngine, stub_weights, write_clip
from posefix_track.cli import main
from posefix_track.errors import UsageError
from posefix_track.formats import read_poses, write_native
from posefix_track.job import Job, run_job
from posefix_track.poses import FramePoses
from posefix_track.refine import Options, finished
from posefix_track.refiner import PoseRefiner, RefinedPoses
from posefix_track.report import Report
from tests.format_samples import PAIRS, sample_of
from tests.stub_jobs import job, write_files

REFINED = Options(scores="refined")
# What the samples give to all.
JOINT_SCORE, PERSON_SCORE = 0.75, 0.5
# Rounding to 4 decimals of a score, and of the joints' scores that make up its factor.
ROUNDING = 1.01e-4


class Doubter(StubEngine):
    """Moves nothing, and expects another similarity of each joint and crop."""

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        joint = np.arange(keypoints.shape[1]) / 40 + images.mean((1, 2, 3))[:, None] / 1000
        return keypoints, np.stack([0.3 + joint] * 2, axis=-1).astype(np.float32)


def judged(expected: Any) -> RefinedPoses:
    """Nothing has moved."""
    expected = np.array(expected, np.float32)
    none = np.zeros(expected.shape, bool)
    keypoints = np.full((*expected.shape, 2), 50, np.float32)
    return RefinedPoses(keypoints, expected, none, none.astype(np.float32), np.ones(len(expected), bool))


def before(result: RefinedPoses, person_scores: list[float] | None) -> FramePoses:
    scores = None if person_scores is None else np.array(person_scores, np.float32)
    return FramePoses(result.keypoints, frame_index=0, person_scores=scores)


def test_a_person_gets_the_tracker_s_score_times_the_mean_of_its_judged_joints() -> None:
    result = judged([[0.5, 0.7, np.nan], [1.0, 0.2, 0.3]])
    frame = before(result, [0.8, 3.0])
    frame.keypoints[1, 0] = 0  # absent: what is expected of it does not count
    after = finished(frame, result, REFINED)
    np.testing.assert_allclose(after.person_scores, [0.8 * 0.6, 3 * 0.25], rtol=1e-6)
    assert after.scores is None


@pytest.mark.parametrize("score", [0.0, -2.5, np.nan, np.inf])
def test_a_score_that_is_not_above_0_stays(score: float) -> None:
    result = judged([[0.5, 0.7]])
    np.testing.assert_array_equal(finished(before(result, [score]), result, REFINED).person_scores, np.float32([score]))


def test_who_has_no_judged_joint_keeps_the_score_exactly() -> None:
    result = judged([[np.nan, np.nan], [0.5, 0.5]])
    after = finished(before(result, [0.1, 0.1]), result, REFINED)
    np.testing.assert_array_equal(after.person_scores, np.float32([0.1, 0.05]))


def test_joints_that_are_dropped_have_lowered_the_score() -> None:
    result = judged([[0.2, 0.8]])
    after = finished(before(result, [1.0]), result, replace(REFINED, drop_below=0.5))
    np.testing.assert_allclose(after.person_scores, [0.5], rtol=1e-6)
    np.testing.assert_array_equal(after.present, [[False, True]])


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 1) | st.just(np.nan), min_size=4, max_size=4), min_size=1, max_size=4))
def test_scores_are_those_of_one_person_after_the_other(expected: list[list[float]]) -> None:
    result = judged(expected)
    after = finished(before(result, [0.9] * len(expected)), result, REFINED).person_scores
    assert after is not None and after.dtype == np.float32
    for score, own in zip(after.tolist(), expected, strict=True):
        known = [value for value in own if not np.isnan(value)]
        # Float32 has 7 digits.
        assert score == pytest.approx(0.9 * sum(known) / len(known) if known else 0.9, rel=1e-6, abs=1e-38)


def test_kept_scores_are_the_very_same() -> None:
    result = judged([[0.5, 0.7]])
    frame = before(result, [0.8])
    assert finished(frame, result, Options()).person_scores is frame.person_scores


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line gets the engine that only pretends."""
    own = {"engine": Doubter(), "weights": stub_weights()}
    monkeypatch.setattr("posefix_track.job.PoseRefiner", lambda **asked: PoseRefiner(**{**asked, **own}))


def people(content: Any) -> list[tuple[float, npt.NDArray[np.float64]]]:
    """Score, and the scores of the joints that the sample has, of each person of a COCO or PoseTrack file."""
    rows = content if isinstance(content, list) else content["annotations"]
    found = []
    for row in rows:
        joints = np.array(row["keypoints"]).reshape(-1, 3)
        scores = np.array(row["scores"]) if "scores" in row else joints[:, 2]
        found.append((row["score"], scores[joints[:, :2].any(1)]))
    return found


def refine_sample(name: str, folder: Path, *arguments: str) -> tuple[Path, Path]:
    """The poses' file of a sample and what the command line makes of it."""
    write_clip(folder / "clip.mp4", 3, (240, 400))
    poses = sample_of(name).place(folder)
    words = [folder / "clip.mp4", "--poses", poses, "-o", folder / "out.json", "--no-flip", "--no-gate", *arguments]
    assert main([str(word) for word in words]) == 0
    return poses, folder / "out.json"


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("name", ["coco", "posetrack18"])
def test_the_command_line_writes_both(name: str, tmp_path: Path) -> None:
    found = people(json.loads(refine_sample(name, tmp_path, "--scores", "refined")[1].read_text()))
    assert len(found) == 3 and all(np.ptp(joints) > 0.3 for _, joints in found)
    for score, joints in found:
        # PoseTrack's ears are never judged: they keep the score that the sample gives all joints.
        own = joints[joints != JOINT_SCORE]
        assert len(own) == (15 if name == "posetrack18" else 16)
        assert score == pytest.approx(PERSON_SCORE * own.mean(), rel=0, abs=ROUNDING)


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("name", ["coco", "posetrack18"])
def test_people_that_pass_through_keep_their_scores(name: str, tmp_path: Path) -> None:
    _, output = refine_sample(name, tmp_path, "--scores", "refined", "--frames", "0-1")
    found = people(json.loads(output.read_text()))
    assert [score == PERSON_SCORE for score, _ in found] == [False, False, True]
    assert (found[2][1] == JOINT_SCORE).all()


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("name", ["coco", "posetrack18"])
def test_every_byte_stays_unless_asked_for(name: str, tmp_path: Path) -> None:
    poses, output = refine_sample(name, tmp_path)
    assert output.read_bytes() == poses.read_bytes()


def scored_files(folder: Path) -> Path:
    """A clip of 24 frames, and in scored.jsonl its people with scores."""
    write_files(folder, 24)
    (sequence,) = read_poses(folder / "poses.jsonl").sequences
    frames = (replace(f, person_scores=np.linspace(0.2, 0.9, len(f), dtype=np.float32)) for f in sequence.frames)
    write_native(folder / "scored.jsonl", replace(sequence, frames=tuple(frames)), {})
    return folder


class StoppedError(Exception):
    """Stands for whatever may end a run."""


def stop(report: Report, _: int | None) -> None:
    if report.frames_with_poses >= 9:
        raise StoppedError


def test_a_resumed_run_writes_the_same_scores(tmp_path: Path) -> None:
    files, whole, output = scored_files(tmp_path), tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    options: dict[str, Any] = {"poses": files / "scored.jsonl", "options": REFINED, "engine": Doubter()}
    run_job(job(files, whole, **options))
    with pytest.raises(StoppedError):
        run_job(job(files, output, **options), stop)
    assert run_job(job(files, output, **options, resume=True)).report.frames_resumed >= 9
    assert output.read_bytes() == whole.read_bytes()
    pairs = zip(read_poses(files / "scored.jsonl").sequences[0].frames, read_poses(output).sequences[0].frames,
                strict=True)  # fmt: skip
    assert all((new.person_scores < old.person_scores).all() for old, new in pairs)


def test_the_score_of_the_person_alone_is_enough(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 1, (240, 400))
    for name, score in (("with", {"bbox_score": 0.5}), ("without", {})):
        frames = [{"frame_id": 0, "instances": [{"keypoints": PAIRS, **score}]}]
        (tmp_path / f"{name}.json").write_text(json.dumps(frames))
    refiner = {"weights": stub_weights(), "engine": Doubter(), "flip": False}
    run_job(Job(tmp_path / "clip.mp4", tmp_path / "with.json", tmp_path / "out.json", options=REFINED, refiner=refiner))
    (frame,) = json.loads((tmp_path / "out.json").read_text())
    assert 0 < frame["instances"][0]["bbox_score"] < 0.5
    with pytest.raises(UsageError, match="has no scores to replace; leave out --scores refined"):
        run_job(Job(tmp_path / "clip.mp4", tmp_path / "without.json", options=REFINED, refiner=refiner))

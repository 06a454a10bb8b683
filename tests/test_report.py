"""What the report of a run says: hashes, latencies, and batches that did not fit."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.formats import read_poses, write_native
from posefix_track.job import Job, run_job
from posefix_track.keypoints import COCO_17
from posefix_track.latency import Latencies
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refine import Options, refine_sequence
from posefix_track.refiner import PoseRefiner, RefinedPoses
from posefix_track.report import Report
from posefix_track.video import open_source
from posefix_track.weights import Weights
from tests.format_samples import FLAT, write_folder
from tests.shift_engine import ShiftEngine

LOADED = Weights(PoseFix(NetworkConfig(input_size=(32, 32), head_channels=(8, 8, 8))), {}, "0" * 64)
CALL_SECONDS = 0.02


@dataclass
class SlowEngine(ShiftEngine):
    """Gives every joint back, after a while, and takes up to ``rows`` rows."""

    expected: tuple[float, float] = (1.0, 1.0)
    max_batch: int = 32
    name: str = "slow"
    rows: int = 32

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if len(images) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        time.sleep(CALL_SECONDS)
        return super().__call__(images, keypoints, present)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, and poses of two people on all but the last two."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "images").mkdir()
    for i in range(12):
        cv2.imwrite(str(folder / "images" / f"{i:03}.png"), np.zeros((60, 80, 3), np.uint8))
    write_native(folder / "poses.jsonl", poses(), {"path": "images"})
    return folder


def poses() -> PoseSequence:
    rng = np.random.default_rng(0)
    people = [rng.uniform(10, 50, (2 * (i < 10), 17, 2)).astype(np.float32) for i in range(12)]
    return PoseSequence(COCO_17, tuple(FramePoses(p, frame_index=i) for i, p in enumerate(people)))


def report_of(files: Path, engine: SlowEngine, latency: int = 4) -> Report:
    report = Report()
    refiner = PoseRefiner(LOADED, engine=engine, flip=False)
    with open_source(files / "images") as source:
        refine_sequence(source, poses(), refiner, report, Options(max_latency=latency))
    return report


@given(st.lists(st.floats(1e-5, 5000), min_size=1, max_size=50), st.sampled_from([1, 50, 95, 99, 100]))
@settings(max_examples=50, deadline=None)
def test_percentiles_are_those_of_the_sorted_list(seconds: list[float], percent: int) -> None:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    nearest_rank = sorted(seconds)[-(-percent * len(seconds) // 100) - 1]
    assert latencies.count == len(seconds)
    # Bins are 1 % wide, and the middle of one is said.
    assert latencies.percentile_ms(percent) == pytest.approx(1000 * nearest_rank, rel=0.0051)


def test_without_durations_there_are_no_percentiles() -> None:
    assert Latencies().to_dict() == {"count": 0, "p50": None, "p95": None, "p99": None}


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e9])
def test_durations_beyond_the_bins_count_in_the_last_ones(seconds: float) -> None:
    latencies = Latencies()
    latencies.add(seconds)
    assert latencies.count == 1 and np.isfinite(latencies.percentile_ms(50))


def test_latency_counts_frames_with_people_and_their_batches(files: Path) -> None:
    found = report_of(files, SlowEngine()).to_dict()["latency_ms"]
    # Ten frames with people in fours; the last batch has two of them and two without.
    assert (found["frame"]["count"], found["batch"]["count"]) == (10, 3)
    assert found["batch"]["p50"] >= 0.99 * 1000 * CALL_SECONDS
    assert found["frame"]["p99"] >= found["frame"]["p50"] >= 0.99 * 1000 * CALL_SECONDS


def test_a_batch_that_did_not_fit_is_noted_and_is_no_warning(files: Path) -> None:
    report = report_of(files, SlowEngine(rows=3)).to_dict()
    assert report["people_per_call"] == 2
    assert report["notes"] == ["the GPU's memory does not take 32 people in a call; it got 2"]
    assert report["warnings"] == []


def test_batches_that_fit_are_not_worth_a_note(files: Path) -> None:
    report = report_of(files, SlowEngine()).to_dict()
    assert (report["people_per_call"], report["notes"]) == (32, [])


def test_the_report_has_the_hash_of_the_pose_file(files: Path, tmp_path: Path) -> None:
    job = Job(files / "images", files / "poses.jsonl", tmp_path / "out.jsonl",
              refiner={"weights": LOADED, "engine": SlowEngine()})  # fmt: skip
    expected = hashlib.sha256((files / "poses.jsonl").read_bytes()).hexdigest()
    assert run_job(job).to_dict()["poses_sha256"] == expected


def test_the_hash_of_a_folder_is_that_of_its_sums(tmp_path: Path) -> None:
    content = {f"a_{n}_keypoints.json": {"people": [{"pose_keypoints_2d": FLAT}] * n} for n in (1, 2)}
    folder = write_folder(tmp_path, content)
    # As `sha256sum *.json | sha256sum` prints it.
    sums = "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(folder.glob("*.json")))
    assert read_poses(folder).sha256 == hashlib.sha256(sums.encode()).hexdigest()


def test_expected_similarity_is_that_of_the_joints_that_were_judged() -> None:
    report, before = Report(), FramePoses(np.array([[[1, 1], [0, 0], [3, 3]]], np.float32), 0)
    assert report.to_dict()["mean_expected_similarity"] is None
    expected = np.array([[0.5, 0.9, np.nan]], np.float32)
    for refined in (False, True):
        moved = np.array([[False, refined, False]])
        report.add_people(
            before, RefinedPoses(before.keypoints, expected, moved, np.zeros((1, 3), np.float32), np.array([True]))
        )
    # An absent joint counts only where it was given a place: 0.5, and 0.5 with 0.9.
    assert report.to_dict()["mean_expected_similarity"] == pytest.approx((0.5 + 0.5 + 0.9) / 3, abs=5e-4)

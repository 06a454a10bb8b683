"""Repeated poses of one person: the best-scored stays."""

import math
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.errors import UsageError
from posefix_track.job import run_job
from posefix_track.keypoints import COCO_17, POSETRACK_18, KeypointSet
from posefix_track.suppression import keep_distinct, without_repeated_poses
from tests.stub_jobs import job, write_files


def slow_oks(a: np.ndarray, b: np.ndarray, joints: KeypointSet) -> float:
    """Over all joints but the ears that PoseTrack never labels, on the mean area of both poses' boxes."""
    alive = [i for i, name in enumerate(joints.joints) if name not in joints.dead]
    area = np.mean([np.ptp(pose[alive], 0).prod() for pose in (a, b)])
    terms = [math.exp(-(math.dist(a[i], b[i]) ** 2) / (2 * area * (2 * joints.sigmas[i]) ** 2)) for i in alive]
    return sum(terms) / len(terms)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7), st.sampled_from([COCO_17, POSETRACK_18]))
def test_a_pose_stays_unless_a_better_scored_one_that_stays_is_too_similar(
    seed: int, people: int, joints: KeypointSet
) -> None:
    rng = np.random.default_rng(seed)
    body = rng.uniform(0, 200, (2, 17, 2))
    poses, scores = body[rng.integers(2, size=people)] + rng.normal(0, 8, (people, 17, 2)), rng.permutation(people)
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(slow_oks(poses[i], poses[j], joints) <= 0.7 for j in kept):
            kept.append(int(i))
    assert np.flatnonzero(keep_distinct(poses, scores.astype(float), joints, 0.7)).tolist() == sorted(kept)


def row(image: int, shift: float, **fields: object) -> dict[str, object]:
    points = np.random.default_rng(0).uniform(0, 100, (17, 2)) + shift
    return {"image_id": image, "keypoints": np.c_[points, np.ones(17)].ravel().tolist(), "category_id": 1, **fields}


def test_poses_of_other_images_are_no_repetition() -> None:
    rows = [row(1, 0, score=0.5), row(1, 0.1, score=0.9), row(2, 0, score=0.1), row(1, 500, score=0.2)]
    data, dropped = without_repeated_poses(orjson.dumps(rows), COCO_17, 0.7)
    assert (orjson.loads(data), dropped) == (rows[1:], 1)


def test_a_posetrack_person_is_ranked_by_the_mean_of_its_joints_scores() -> None:
    rows = [row(1, 0, scores=[0.2] * 17), row(1, 0.1, scores=[0.3] * 17)]
    data, dropped = without_repeated_poses(orjson.dumps({"images": [], "annotations": rows}), POSETRACK_18, 0.7)
    assert (orjson.loads(data), dropped) == ({"images": [], "annotations": rows[1:]}, 1)


def test_a_run_drops_repeated_people_and_counts_them(tmp_path: Path) -> None:
    files = write_files(tmp_path, 2)
    poses = tmp_path / "coco.json"
    poses.write_bytes(orjson.dumps([row(0, 0, score=0.5), row(0, 0.1, score=0.9), row(1, 0, score=0.1)]))
    report = run_job(job(files, tmp_path / "out.json", poses=poses, oks_nms=0.7)).report
    assert [one["score"] for one in orjson.loads((tmp_path / "out.json").read_bytes())] == [0.9, 0.1]
    assert report.people_dropped == 1
    with pytest.raises(UsageError, match="--oks-nms works on COCO results"):
        run_job(job(files, tmp_path / "out.jsonl", oks_nms=0.7))

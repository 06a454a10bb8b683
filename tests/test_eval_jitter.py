import json
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.__main__ import main
from eval.jitter import compare_jitter, flipped_frames, limb_variation, measure, pooled
from eval.jitter_tracks import Track, paired_tracks
from posefix_track.errors import InputError
from posefix_track.keypoints import COCO_17
from posefix_track.poses import FramePoses, PoseSequence

SHARED = Path(__file__).parents[1] / ".." / "shared"
BODY = np.random.default_rng(0).uniform(100, 300, (17, 2))


def _walk(frames, step=(5.0, 2.0)):
    """A stiff body that moves straight on: float64 [frames, 17, 2]."""
    return BODY + np.arange(frames)[:, None, None] * np.array(step)


def test_steady_motion_has_no_acceleration_no_limb_variation_and_no_flips():
    found = measure(Track("1", _walk(10)), COCO_17)
    assert (found.frames, found.samples, found.flips) == (10, 8 * 17, 0)
    assert found.acceleration == pytest.approx(0, abs=1e-9)  # float64 rounding of coordinates of some hundred pixels
    assert found.limb_variation == pytest.approx(0, abs=1e-12)  # the same, divided by the limb's length


def test_acceleration_of_a_joint_that_jumps_for_a_frame():
    keypoints = _walk(5)
    keypoints[2, 0] += [0, 12]  # seen as 12, 24 and 12 by the three triples with the frame
    found = measure(Track("1", keypoints), COCO_17)
    assert found.acceleration == pytest.approx(48 / (3 * 17), rel=1e-9)
    assert found.acceleration_share == pytest.approx(found.acceleration / np.ptp(BODY, axis=0).max(), rel=0.05)


@settings(deadline=None)
@given(st.floats(0.1, 50), st.floats(-1e3, 1e3))
def test_the_share_of_the_size_knows_no_scale_and_no_place(scale, shift):
    keypoints = _walk(6) + np.random.default_rng(1).normal(0, 4, (6, 17, 2))
    still, moved = (measure(Track("1", k), COCO_17) for k in (keypoints, keypoints * scale + shift))
    assert moved.acceleration_share == pytest.approx(still.acceleration_share, rel=1e-6)
    assert moved.limb_variation == pytest.approx(still.limb_variation, rel=1e-6)
    assert moved.flips == still.flips


def test_absent_joints_are_left_out():
    keypoints = _walk(6)
    keypoints[3, 4] = np.nan
    found = measure(Track("1", keypoints), COCO_17)
    assert found.samples == 4 * 17 - 3
    assert np.isfinite([found.acceleration, found.limb_variation]).all()


def test_two_frames_are_too_few_for_an_acceleration():
    assert np.isnan(measure(Track("1", _walk(2)), COCO_17).acceleration)


def test_limb_variation_is_deviation_over_mean():
    keypoints = np.full((4, 17, 2), np.nan)
    keypoints[:, COCO_17.index["left_hip"]] = 0
    keypoints[:, COCO_17.index["left_knee"]] = np.array([[8, 0], [12, 0], [8, 0], [12, 0]])
    variation = limb_variation(keypoints, COCO_17)
    limb = COCO_17.limbs.index((COCO_17.index["left_hip"], COCO_17.index["left_knee"]))
    assert variation[limb] == pytest.approx(0.2)
    assert np.isnan(np.delete(variation, limb)).all()


def test_exchanged_sides_are_flips_there_and_back():
    keypoints = _walk(8)
    pair = [COCO_17.index["left_knee"], COCO_17.index["right_knee"]]
    keypoints[4, pair] = keypoints[4, pair[::-1]]
    assert np.flatnonzero(flipped_frames(keypoints, COCO_17, 5.0)).tolist() == [3, 4]
    assert measure(Track("1", keypoints), COCO_17).flips == 2


def test_joints_that_lie_upon_each_other_do_not_flip():
    keypoints = _walk(4)
    pair = [COCO_17.index["left_knee"], COCO_17.index["right_knee"]]
    keypoints[:, pair[1]] = keypoints[:, pair[0]] + [2, 0]
    keypoints[2, pair] = keypoints[2, pair[::-1]]
    assert measure(Track("1", keypoints), COCO_17).flips == 0


def test_tracks_together_weigh_by_what_was_measured():
    restless = _walk(30) + np.random.default_rng(1).normal(0, 4, (30, 17, 2))
    parts = [measure(Track("a", restless[:20]), COCO_17), measure(Track("b", restless[20:]), COCO_17)]
    total = sum(part.acceleration * part.samples for part in parts) / (18 * 17 + 8 * 17)
    assert pooled(parts).acceleration == pytest.approx(total, rel=1e-12)
    assert pooled(parts).frames == 30


def _sequence(frames, ids=None):
    poses = [
        FramePoses(np.asarray(people, np.float32).reshape(-1, 17, 2), frame_index=i, track_ids=ids and tuple(ids[i]))
        for i, people in enumerate(frames)
    ]
    return [PoseSequence(COCO_17, tuple(poses))]


def test_people_are_followed_by_their_ids():
    first, second = _walk(4), _walk(4) + 50
    frames = [[a, b] if i % 2 else [b, a] for i, (a, b) in enumerate(zip(first, second, strict=True))]
    ids = [["x", "y"] if i % 2 else ["y", "x"] for i in range(4)]
    (before, _), how = paired_tracks(_sequence(frames, ids), _sequence(frames, ids))
    np.testing.assert_allclose(before["x"].keypoints, first, rtol=1e-6)  # float32
    assert "track ids" in how


def test_people_without_ids_are_linked_by_their_boxes():
    first, second = _walk(6), _walk(6, (-5.0, 0.0)) + np.array([400, 0])
    frames = [[a, b] if i % 2 else [b, a] for i, (a, b) in enumerate(zip(first, second, strict=True))]
    (before, after), how = paired_tracks(_sequence(frames), _sequence(frames))
    assert set(before) == set(after) == {"0", "1"}
    np.testing.assert_allclose(before["1"].keypoints, first, rtol=1e-6)  # float32
    assert "linked" in how


def test_a_person_who_comes_later_is_a_new_track():
    frames = [[BODY], [BODY, BODY + 1000], [BODY + 1000]]
    (before, _), _ = paired_tracks(_sequence(frames), _sequence(frames))
    assert [track.frames for track in before.values()] == [2, 2]


def test_a_lone_person_is_one_track_however_far_it_jumps():
    frames = [[BODY], [], [BODY + 1000]]
    (before, _), how = paired_tracks(_sequence(frames), _sequence(frames))
    assert [track.frames for track in before.values()] == [2]
    assert "one person" in how


def test_other_people_without_ids_are_refused():
    with pytest.raises(InputError, match="no track ids"):
        paired_tracks(_sequence([[BODY], [BODY, BODY]]), _sequence([[BODY], [BODY]]))


def test_a_frame_index_out_of_all_bounds_costs_no_memory():
    frames = tuple(FramePoses(BODY[None].astype(np.float32), frame_index=i) for i in (0, 1, 10**12))
    (before, _), _ = paired_tracks([PoseSequence(COCO_17, frames)], [PoseSequence(COCO_17, frames)])
    assert len(before["0"].keypoints) == 4  # one row stands for the gap


@pytest.fixture
def openpose(tmp_path):
    """Two OpenPose folders of 12 frames: the walk with noise, and without."""
    rng = np.random.default_rng(2)
    for name, noise in (("before", 3.0), ("after", 0.0)):
        (tmp_path / name).mkdir()
        body = np.random.default_rng(0).uniform(100, 300, (25, 2))
        for i in range(12):
            pose = np.c_[body + rng.normal(0, noise, (25, 2)) + np.array([4 * i, 0]), np.full(25, 0.9)]
            people = [{"person_id": [-1], "pose_keypoints_2d": pose.ravel().round(3).tolist()}]
            path = tmp_path / name / f"clip_{i:012d}_keypoints.json"
            path.write_text(json.dumps({"version": 1.3, "people": people}))
    return [str(tmp_path / "before"), str(tmp_path / "after")]


def test_command_compares_two_folders(openpose, tmp_path, capsys):
    assert main(["jitter", "--poses", *openpose, "--fps", "25", "--json", str(tmp_path / "out.json")]) == 0
    out = capsys.readouterr().out
    assert "note: no track ids" in out
    assert "at 25 frames/s" in out
    overall = orjson.loads((tmp_path / "out.json").read_bytes())["overall"]
    assert overall["before"]["acceleration"] > 3
    assert overall["after"]["acceleration"] < 0.01  # rounding to a thousandth of a pixel and float32
    seconds = overall["before"]["acceleration_px_per_second2"]
    assert seconds == pytest.approx(625 * overall["before"]["acceleration"])


def test_files_of_different_joints_are_refused(openpose, tmp_path):
    result = {"image_id": 1, "category_id": 1, "score": 1.0, "keypoints": np.c_[BODY, np.ones(17)].ravel().tolist()}
    (tmp_path / "coco.json").write_text(json.dumps([result]))
    with pytest.raises(InputError, match="one keypoint set"):
        compare_jitter(Path(openpose[0]), tmp_path / "coco.json")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared reference data is not beside the checkout")
def test_a_real_clip_compared_with_itself_does_not_change():
    poses = SHARED / "data/video/soccer_kick_openpose"
    comparison = compare_jitter(poses, poses)
    assert comparison.before == comparison.after
    assert comparison.overall[0].frames > 80

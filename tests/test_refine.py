"""The main path with stand-in engines: what goes in comes out, and only what should move moves."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.errors import InputError
from posefix_track.frames import Frame
from posefix_track.keypoints import BODY_25, COCO_17, UNION_19
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refine import Options, refine_sequence
from posefix_track.refiner import PoseRefiner
from posefix_track.report import Report
from posefix_track.video import open_source
from tests.shift_engine import LOADED, ShiftEngine


def refiner(engine: ShiftEngine, **options: object) -> PoseRefiner:
    return PoseRefiner(LOADED, engine=engine, **{"flip": False, **options})  # type: ignore[arg-type]


def people(count: int, joints: int = 17, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(20, 180, (count, joints, 2)).astype(np.float32)


class Alone(ShiftEngine):
    """Fails where it is called while it is at work, as an OpenVINO request does."""

    busy = False

    def __call__(self, *arguments: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        assert not self.busy
        self.busy = True
        time.sleep(0.005)
        answers = super().__call__(*arguments)
        self.busy = False
        return answers


IMAGE = np.zeros((200, 200, 3), np.uint8)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_identity_engine_gives_the_same_bits_back(seed: int, flip: bool) -> None:
    poses = people(5, seed=seed)
    result = refiner(ShiftEngine(), flip=flip)(IMAGE, poses)
    np.testing.assert_array_equal(result.keypoints, poses)
    assert result.considered.all() and not result.refined.any()


def test_no_people_work() -> None:
    result = refiner(ShiftEngine())(IMAGE, np.zeros((0, 17, 2)))
    assert result.keypoints.shape == (0, 17, 2)


def test_gate_keeps_joints_bit_for_bit_where_the_network_expects_less() -> None:
    poses = people(3)
    engine = ShiftEngine(shift=(5, 5), expected=(0.4, 0.6))
    kept = refiner(engine)(IMAGE, poses)
    np.testing.assert_array_equal(kept.keypoints, poses)
    assert not kept.refined.any() and (kept.shift == 0).all()
    np.testing.assert_allclose(kept.expected_ks, 0.6, atol=1e-6)
    assert refiner(engine, gate=False)(IMAGE, poses).refined.all()


def test_absent_joints_stay_absent_unless_asked_for() -> None:
    poses = people(1)
    poses[0, 3] = 0
    poses[0, 4] = np.nan
    scores = np.ones((1, 17), np.float32)
    scores[0, 5] = 0
    result = refiner(ShiftEngine(shift=(3, 0)))(IMAGE, poses, scores)
    np.testing.assert_array_equal(result.keypoints[0, 3:6], poses[0, 3:6])
    assert result.refined[0].sum() == 14
    filled = refiner(ShiftEngine(shift=(3, 0)), fill_missing=True)(IMAGE, poses, scores)
    assert filled.refined.all() and np.isfinite(filled.keypoints).all()


def test_people_outside_the_picture_or_without_joints_pass_through() -> None:
    poses = people(4)
    poses[1] += 1000
    poses[2] = 0
    poses[3, 0] = 1e9
    result = refiner(ShiftEngine(shift=(3, 0)))(IMAGE, poses)
    assert result.considered.tolist() == [True, False, False, False]
    np.testing.assert_array_equal(result.keypoints[1:], poses[1:])


def test_flip_average_cancels_a_shift_that_does_not_mirror() -> None:
    """A shift to the right in the crop is one to the left in the mirrored crop: the mean is no shift at all."""
    poses = people(2)
    result = refiner(ShiftEngine(shift=(0.5, 0)), flip=True)(IMAGE, poses)
    np.testing.assert_array_equal(result.keypoints, poses)


def test_scores_may_come_as_third_column() -> None:
    poses = np.concatenate([people(2), np.ones((2, 17, 1), np.float32)], -1)
    poses[0, 0, 2] = 0
    assert refiner(ShiftEngine(shift=(1, 0)))(IMAGE, poses).refined.sum() == 33


def test_body25_feet_stay_and_a_neck_that_is_a_mean_moves_along() -> None:
    poses = people(1, joints=25)
    index = BODY_25.index
    poses[0, index["neck"]] = (poses[0, index["left_shoulder"]] + poses[0, index["right_shoulder"]]) / 2
    result = refiner(ShiftEngine(shift=(2, 0)), keypoints=BODY_25)(IMAGE, poses)
    np.testing.assert_array_equal(result.keypoints[0, -6:], poses[0, -6:])
    shift = result.keypoints - poses
    np.testing.assert_allclose(shift[0, index["neck"]], shift[0, index["left_shoulder"]], atol=1e-3)
    # The mid-hip was no mean of the hips, so it is nobody's business.
    assert (shift[0, index["mid_hip"]] == 0).all()


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_stream_gives_each_frame_its_own_people_in_order(counts: list[int], max_latency: int) -> None:
    frames = [(IMAGE, people(count, seed=i)) for i, count in enumerate(counts)]
    engine = ShiftEngine()
    results = list(refiner(engine).stream(frames, max_latency))
    assert len(results) == len(frames)
    for (_, poses), result in zip(frames, results, strict=True):
        np.testing.assert_allclose(result.keypoints, poses, atol=1e-4)


@pytest.mark.parametrize("shape", [(17, 2), (1, 16, 2), (1, 17, 4)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"keypoints must have shape \[N, 17, 2 or 3\]"):
        refiner(ShiftEngine())(IMAGE, np.ones(shape))


@pytest.mark.parametrize("keypoints", [[[[1, 2]] * 17, [[1, 2]] * 16], [[["a", "b"]] * 17]])
def test_what_is_no_array_of_numbers_is_refused(keypoints: list[object]) -> None:
    with pytest.raises(InputError, match="keypoints must be numbers, in rows of the same length"):
        refiner(ShiftEngine())(IMAGE, keypoints)  # type: ignore[arg-type]


def test_an_image_that_could_not_be_read_is_refused() -> None:
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\], got NoneType; could it be read"):
        refiner(ShiftEngine())(cv2.imread("missing.png"), people(1))  # type: ignore[arg-type]


def test_an_empty_list_is_nobody() -> None:
    result = refiner(ShiftEngine())(IMAGE, [], [])  # type: ignore[arg-type]
    assert result.keypoints.shape == (0, 17, 2)


def test_calls_from_several_threads_wait_for_each_other() -> None:
    asked = [people(3, seed=seed) for seed in range(16)]
    shared = refiner(Alone(shift=(5, 0)))
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda poses: shared(IMAGE, poses).keypoints, asked)]
    for poses, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer, refiner(ShiftEngine(shift=(5, 0)))(IMAGE, poses).keypoints)


def image_folder(path: Path, count: int) -> Path:
    path.mkdir()
    for i in range(count):
        cv2.imwrite(str(path / f"{i:04}.png"), np.full((200, 200, 3), i, np.uint8))
    return path


def sequence(count: int, start: int = 0) -> PoseSequence:
    frames = tuple(FramePoses(people(2, seed=i), frame_index=i) for i in range(start, start + count))
    return PoseSequence(COCO_17, frames)


def test_sequence_is_refined_frame_by_frame(tmp_path: Path) -> None:
    before, report = sequence(30), Report()
    with open_source(image_folder(tmp_path / "images", 30)) as source:
        after = refine_sequence(source, before, refiner(ShiftEngine(shift=(2, 0))), report)
    moved = [a.keypoints - b.keypoints for a, b in zip(after.frames, before.frames, strict=True)]
    assert all((m[..., 0] > 0.1).all() and np.allclose(m[..., 1], 0, atol=1e-3) for m in moved)
    assert (report.frames, report.people, report.joints_moved) == (30, 60, 60 * 17)


def test_frames_outside_the_range_pass_through_and_are_counted(tmp_path: Path) -> None:
    before, report = sequence(10), Report()
    with open_source(image_folder(tmp_path / "images", 10)) as source:
        after = refine_sequence(source, before, refiner(ShiftEngine((2, 0))), report, Options(frames=(3, 5)))
    changed = [a is not b for a, b in zip(after.frames, before.frames, strict=True)]
    assert [i for i, c in enumerate(changed) if c] == [3, 4, 5]
    assert report.people_passed_through == {"outside --frames": 14}


def test_poses_without_a_picture_pass_through_or_stop_the_run(tmp_path: Path) -> None:
    before = PoseSequence(COCO_17, tuple(FramePoses(people(1), image_name=f"{i:04}.png") for i in range(10)))
    folder = image_folder(tmp_path / "images", 8)
    with open_source(folder) as source, pytest.raises(InputError, match=r"2 of 10 frames .*images, such as 0008\.png;"):
        refine_sequence(source, before, refiner(ShiftEngine()), Report())
    report = Report()
    with open_source(folder) as source:
        after = refine_sequence(source, before, refiner(ShiftEngine()), report, Options(max_missing=1))
    assert report.missing_frames == 2 and "0008.png" in report.missing[0]
    assert after.frames[8] is before.frames[8]


def test_nobody_waits_for_pictures_without_people(tmp_path: Path) -> None:
    empty = (FramePoses(np.zeros((0, 17, 2), np.float32), image_name=f"missing{i}.png") for i in range(5))
    before = PoseSequence(COCO_17, (FramePoses(people(1), image_name="0000.png"), *empty))
    report = Report()
    with open_source(image_folder(tmp_path / "images", 1)) as source:
        refine_sequence(source, before, refiner(ShiftEngine((2, 0))), report)
    assert (report.frames, report.missing_frames, report.joints_moved) == (1, 0, 17)


def test_refined_scores_are_written_only_where_the_network_knows_the_joint(tmp_path: Path) -> None:
    scores = np.full((2, 25), 0.25, np.float32)
    before = PoseSequence(BODY_25, (FramePoses(people(2, 25), frame_index=0, scores=scores),))
    with open_source(image_folder(tmp_path / "images", 1)) as source:
        engine = ShiftEngine(shift=(2, 0), expected=(0.9, 0.5))
        after = refine_sequence(source, before, refiner(engine, keypoints=BODY_25), Report(), Options(scores="refined"))
    known = np.isin(np.arange(25), UNION_19.map_from(BODY_25))
    assert after.frames[0].scores is not None
    np.testing.assert_allclose(after.frames[0].scores[:, known], 0.9, atol=1e-6)
    np.testing.assert_array_equal(after.frames[0].scores[:, ~known], 0.25)


def test_frames_repr_names_what_it_is() -> None:
    assert "Frame(3" in repr(Frame(3, 0.1, IMAGE))


def test_answers_are_what_the_network_says_before_the_gate() -> None:
    poses = people(2)
    poses[1] += 1000
    answers = refiner(ShiftEngine(shift=(3, 0), expected=(0.2, 0.9))).answers(IMAGE, poses)
    assert (answers.keypoints[0, :, 0] > poses[0, :, 0]).all()
    np.testing.assert_allclose(answers.expected_ks[0], np.broadcast_to(np.float32((0.2, 0.9)), (17, 2)))
    assert np.isnan(answers.keypoints[1]).all()
    assert np.isnan(answers.expected_ks[1]).all()

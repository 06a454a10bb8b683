from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from posefix_track.errors import InputError
from posefix_track.figures import FigureFrame, render_clip, render_person
from posefix_track.figures.body import Arm, Build, Leg, Pose, pose_body
from posefix_track.figures.canvas import NOBODY, Canvas, Light, Paint, Tube
from posefix_track.figures.looks import random_background
from posefix_track.figures.motion import Walker, random_pose, walking
from posefix_track.keypoints import UNION_19

SIZE = (120, 200)
BONES = [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")]


@cache
def clip(people: int, seed: int, frames: int) -> tuple[FigureFrame, ...]:
    """Most tests look at one clip of three people for three seconds."""
    return tuple(render_clip(frames, people, SIZE, seed))


def hips_x(frames: Sequence[FigureFrame]) -> np.ndarray:
    """[T, N]: where the people are."""
    hips = [UNION_19.index["left_hip"], UNION_19.index["right_hip"]]
    return np.array([frame.keypoints[:, hips, 0].mean(1) for frame in frames])


def test_the_same_seed_gives_the_same_clip() -> None:
    for one, other in zip(clip(2, 5, 4), render_clip(4, 2, SIZE, 5), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
    assert (clip(2, 6, 1)[0].image != clip(2, 5, 1)[0].image).any()


def test_a_frame_has_the_promised_shapes() -> None:
    frame = clip(3, 0, 1)[0]
    assert (frame.image.shape, frame.image.dtype) == ((*SIZE, 3), np.uint8)
    assert (frame.keypoints.shape, frame.keypoints.dtype) == ((3, len(UNION_19), 2), np.float32)
    assert (frame.visible.shape, frame.visible.dtype) == ((3, len(UNION_19)), np.bool_)
    assert frame.track_ids == (0, 1, 2)
    assert (frame.bbox_xyxy.shape, frame.bbox_xyxy.dtype) == ((3, 4), np.float32)


def test_visible_joints_lie_on_bodies() -> None:
    background = random_background(np.random.default_rng(0), *SIZE).astype(int)  # the clip's first use of its seed
    changed = []
    for frame in clip(3, 0, 90):
        x, y = np.rint(frame.keypoints[frame.visible]).astype(int).T
        changed.append(np.abs(frame.image[y, x] - background[y, x]).max(-1) > 4)
    # A few joints lie on the very rim (far eye in profile) or wear the colour of the wall.
    assert np.concatenate(changed).mean() > 0.97


def test_boxes_hold_the_joints_inside_the_picture() -> None:
    for frame in clip(3, 0, 90):
        inside = np.clip(frame.keypoints, 0, (SIZE[1] - 1, SIZE[0] - 1))
        assert (inside >= frame.bbox_xyxy[:, None, :2]).all()
        assert (inside <= frame.bbox_xyxy[:, None, 2:]).all()


@pytest.mark.parametrize(("people", "seed", "frames"), [(3, 0, 90), (2, 1, 40), (4, 2, 60)])
def test_people_cross_and_hide_one_another(people: int, seed: int, frames: int) -> None:
    x = hips_x(clip(people, seed, frames))
    order = np.sign(x[:, 0] - x[:, 1])
    assert order.min() < 0 < order.max()
    meeting = clip(people, seed, frames)[int(np.abs(x[:, 0] - x[:, 1]).argmin())]
    assert not meeting.visible[0].all()  # the first is the farthest from the viewer


def test_nothing_hides_somebody_alone() -> None:
    for frame in clip(1, 3, 20):
        inside = ((frame.keypoints > 0) & (frame.keypoints < (SIZE[1] - 1, SIZE[0] - 1))).all(-1)
        np.testing.assert_array_equal(frame.visible, inside)


def test_motion_is_smooth() -> None:
    keypoints = np.array([frame.keypoints for frame in clip(3, 0, 90)])
    stature = np.ptp(keypoints[0, :, :, 1], axis=1).min()
    steps = np.linalg.norm(np.diff(keypoints, axis=0), axis=-1)
    # A foot of a brisk walker moves at about 5 statures a second, a sixth of a stature in 1/30 s.
    assert 0 < steps.max() < stature / 6


def test_walkers_turn_round_with_face_or_back_to_the_viewer() -> None:
    for turns_away in (False, True):
        walker = Walker(np.random.default_rng(0), 0, -1, 1, 1, pace=1, walks_for=99, turns_away=turns_away)
        facing = [np.cos(walker.step().yaw) for _ in range(240)]
        assert max(facing) > 0.3 and (min(facing) < -0.9) == turns_away


def test_walkers_stop_and_wave() -> None:
    walker = Walker(np.random.default_rng(0), 0, -1, 1, 1, pace=1, walks_for=1)
    raised = [max(arm.abduct for arm in walker.step().arms.values()) for _ in range(90)]
    assert raised[0] < 0.5 and max(raised) > 1.5


@pytest.mark.parametrize(("people", "size"), [(0, SIZE), (201, SIZE), (2, (8, 200))])
def test_impossible_clips_are_refused(people: int, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="people"):
        next(render_clip(1, people, size, 0))


def test_random_people_vary_and_repeat_with_the_generator() -> None:
    first, again = (
        [render_person(rng, (128, 96)) for _ in range(8)]
        for rng in (np.random.default_rng(1), np.random.default_rng(1))
    )
    assert {len(frame.keypoints) for frame in first} == {1, 2}
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    assert len({frame.image.tobytes() for frame in first}) == 8


def test_random_people_are_mostly_in_the_picture() -> None:
    rng = np.random.default_rng(2)
    seen = [frame.visible[-1].mean() for frame in (render_person(rng, (128, 96)) for _ in range(25))]
    assert np.mean(seen) > 0.7


# --- the body ---


@pytest.mark.parametrize("seed", range(20))
def test_bones_keep_their_length_in_any_pose(seed: int) -> None:
    build = Build(legs=1.03)
    straight, posed = (pose_body(pose, build).points for pose in (Pose(), random_pose(np.random.default_rng(seed))))
    for a, b in BONES:
        for side in ("left", "right"):
            lengths = [np.linalg.norm(p[f"{side}_{a}"] - p[f"{side}_{b}"]) for p in (straight, posed)]
            assert lengths[0] == pytest.approx(lengths[1], abs=1e-12)


def test_an_upright_body_is_one_stature_high() -> None:
    points = pose_body(Pose(), Build()).points
    assert points["left_heel"][1] - points["head_top"][1] == pytest.approx(1.0, abs=0.05)
    assert points["head_top"][1] < points["head_bottom"][1] < points["left_hip"][1] < points["left_ankle"][1]


@pytest.mark.parametrize(("yaw", "left_is_on_the"), [(0.0, "right"), (np.pi, "left")])
def test_left_changes_its_place_with_the_view(yaw: float, left_is_on_the: str) -> None:
    points = pose_body(Pose(yaw), Build()).points
    for part in ("shoulder", "hip", "eye", "wrist"):
        offset = points[f"left_{part}"][0] - points[f"right_{part}"][0]
        assert (offset > 0) == (left_is_on_the == "right")


def test_a_quarter_turn_looks_to_the_right_edge() -> None:
    points = pose_body(Pose(np.pi / 2), Build()).points
    assert points["nose"][0] > points["head_bottom"][0] + 0.05
    assert points["left_toe"][0] > points["left_heel"][0]
    assert points["left_hip"][2] < points["right_hip"][2]  # the left side is farther away


def test_joints_bend_the_right_way() -> None:
    base = Pose(np.pi / 2)  # forward is +x
    lifted = replace(base, legs={**base.legs, "left": Leg(flex=1.2, knee=1.2)})
    bent = replace(base, arms={**base.arms, "left": Arm(flex=1.0, elbow=1.0)})
    leg, arm = pose_body(lifted, Build()).points, pose_body(bent, Build()).points
    assert leg["left_knee"][0] > leg["left_hip"][0] + 0.1
    assert leg["left_ankle"][0] - leg["left_knee"][0] < 0.05  # heel under the knee, not kicked up in front
    assert arm["left_wrist"][0] > arm["left_elbow"][0] > arm["left_shoulder"][0]
    assert arm["left_wrist"][1] < arm["left_elbow"][1]


def test_walking_alternates() -> None:
    points = pose_body(walking(np.pi / 2, 1.0, np.pi / 2), Build()).points
    assert points["left_ankle"][0] > points["right_ankle"][0]
    assert points["left_wrist"][0] < points["right_wrist"][0]


# --- the brush ---


def test_a_tube_covers_what_geometry_says() -> None:
    canvas = Canvas(np.zeros((40, 60, 3), np.float32), Light())
    canvas.tube(Tube((15.0, 20.0), (45.0, 20.0), (6.0, 6.0), Paint((200.0, 100.0, 50.0))), owner=3)
    y, x = np.mgrid[:40, :60]
    inside = np.hypot(x - np.clip(x, 15, 45), y - 20) < 6
    np.testing.assert_array_equal(canvas.owner == 3, inside)
    assert (canvas.owner[~inside] == NOBODY).all()
    assert canvas.pixels[14, 30].sum() > canvas.pixels[26, 30].sum()  # light from above


def test_a_flat_end_is_cut_off() -> None:
    canvas = Canvas(np.zeros((40, 60, 3), np.float32), Light())
    canvas.tube(Tube((15.0, 20.0), (45.0, 20.0), (6.0, 6.0), Paint((200.0,) * 3), flat_end=True), owner=3)
    columns = np.flatnonzero((canvas.owner == 3).any(0))
    assert (columns[0], columns[-1]) == (10, 44)


def test_painting_outside_the_picture_changes_nothing() -> None:
    canvas = Canvas(np.zeros((20, 20, 3), np.float32), Light())
    canvas.tube(Tube((-50.0, -50.0), (-40.0, 90.0), (6.0, 6.0), Paint((200.0,) * 3)), owner=0)
    assert not canvas.pixels.any() and (canvas.owner == NOBODY).all()

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posefix_track.errors import InputError
from posefix_track.keypoints import COCO_17
from posefix_track.poses import FramePoses, PoseSequence, present_joints

TWO_PEOPLE = np.ones((2, 17, 2), np.float32)


@pytest.mark.parametrize("shape", [(17, 2), (2, 17, 3), (2, 17, 2, 1)])
def test_keypoints_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"keypoints must have shape \[N, K, 2\], got"):
        FramePoses(np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"scores": np.ones((2, 16), np.float32)}, r"scores must have shape \[2, 17\], got \[2, 16\]"),
        ({"scores": np.ones(2, np.float32)}, r"scores must have shape \[2, 17\], got \[2\]"),
        ({"person_scores": np.ones(3, np.float32)}, r"person_scores must have shape \[2\], got \[3\]"),
        ({"track_ids": ("a",)}, r"expected 2 track ids, got 1"),
    ],
)
def test_columns_that_do_not_match_the_people_are_refused(column: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FramePoses(TWO_PEOPLE, **column)  # type: ignore[arg-type]


def test_a_sequence_refuses_frames_of_another_joint_count() -> None:
    with pytest.raises(InputError, match=r"clip: coco17 has 17 joints, but FramePoses\(3, people=1, joints=18\)"):
        PoseSequence(COCO_17, (FramePoses(np.ones((1, 18, 2), np.float32), frame_index=3),), "clip")


def test_an_empty_frame_has_nobody() -> None:
    frame = FramePoses(np.zeros((0, 17, 2), np.float32), scores=np.zeros((0, 17), np.float32), track_ids=())
    assert len(frame) == 0
    assert frame.present.shape == (0, 17)


@pytest.mark.parametrize(
    ("x", "y", "score", "present"),
    [
        (5, 5, 0.5, True),
        (0, 5, 0.5, True),  # on the left edge
        (5, 0, 0.5, True),  # on the upper edge
        (-3, -2, 0.5, True),  # outside the picture, yet found
        (0, 0, 0.5, False),  # the usual mark of a joint that was not found
        (np.nan, 5, 0.5, False),
        (5, np.nan, 0.5, False),
        (np.inf, 5, 0.5, False),
        (5, 5, 0.0, False),
        (5, 5, -1.0, False),
        (5, 5, np.nan, False),
        (5, 5, 17.0, True),  # scores may have any range
    ],
)
def test_presence_follows_position_and_score(x: float, y: float, score: float, present: bool) -> None:
    frame = FramePoses(np.array([[(x, y)]], np.float32), scores=np.array([[score]], np.float32))
    assert frame.present.tolist() == [[present]]


def test_without_scores_only_the_position_decides() -> None:
    keypoints = np.array([[(1, 2), (0, 0), (np.nan, 0)]], np.float32)
    assert present_joints(keypoints, None).tolist() == [[True, False, False]]


@settings(deadline=None)
@given(arrays(np.float32, (2, 3, 2), elements=st.floats(width=32)))
def test_present_joints_are_always_finite(keypoints: np.ndarray) -> None:
    assert np.isfinite(keypoints[present_joints(keypoints, None)]).all()


def test_other_keypoints_leave_everything_else_as_it_was() -> None:
    frame = FramePoses(TWO_PEOPLE, 4, "a.jpg", np.ones((2, 17), np.float32), np.ones(2, np.float32), ("x", 7))
    moved = frame.with_keypoints(TWO_PEOPLE + 1)
    assert (moved.keypoints == 2).all()
    assert moved.frame_index == 4
    assert moved.image_name == "a.jpg"
    assert moved.track_ids == ("x", 7)
    assert moved.scores is frame.scores
    assert moved.person_scores is frame.person_scores


def test_new_scores_replace_the_old_ones() -> None:
    frame = FramePoses(TWO_PEOPLE, scores=np.ones((2, 17), np.float32))
    changed = frame.with_keypoints(TWO_PEOPLE, np.full((2, 17), 0.5, np.float32))
    assert changed.scores is not None
    assert (changed.scores == 0.5).all()

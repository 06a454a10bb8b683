import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix_track.errors import InputError
from posefix_track.keypoints import BODY_25, COCO_17, KEYPOINT_SETS
from posefix_track.render import draw_poses, id_colour, side_by_side

HEIGHT, WIDTH = 120, 160
GREY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


def spread_pose(joints: int) -> np.ndarray:
    """[1, K, 2]: joints on a grid, 8 pixels and more apart."""
    return np.array([[(12 + 12 * (i % 12), 12 + 8 * (i // 12)) for i in range(joints)]], np.float32)


@pytest.mark.parametrize("keypoint_set", KEYPOINT_SETS.values(), ids=lambda s: s.name)
def test_every_present_joint_is_drawn(keypoint_set) -> None:
    keypoints = spread_pose(len(keypoint_set))
    drawn = draw_poses(GREY, keypoints, np.ones((1, len(keypoint_set)), bool), keypoint_set)
    columns, rows = keypoints[0].astype(int).T
    assert (drawn[rows, columns] != GREY[rows, columns]).any(-1).all()


def test_the_picture_itself_is_not_touched() -> None:
    before = GREY.copy()
    draw_poses(GREY, spread_pose(17), np.ones((1, 17), bool), COCO_17, track_ids=["a"])
    np.testing.assert_array_equal(GREY, before)


def test_absent_joints_and_their_limbs_are_not_drawn() -> None:
    keypoints = spread_pose(17)
    present = np.zeros((1, 17), bool)
    keypoints[0, 5] = np.nan
    present[0, 5] = True  # a tracker's claim that a NaN joint is there
    drawn = draw_poses(GREY, keypoints, present, COCO_17)
    np.testing.assert_array_equal(drawn, GREY)


def test_a_limb_to_an_absent_joint_is_left_out() -> None:
    keypoints = np.zeros((1, 17, 2), np.float32)
    present = np.zeros((1, 17), bool)
    elbow, wrist = COCO_17.index["left_elbow"], COCO_17.index["left_wrist"]
    keypoints[0, elbow], keypoints[0, wrist] = (30, 60), (130, 60)
    present[0, [elbow, wrist]] = True
    assert (draw_poses(GREY, keypoints, present, COCO_17)[60, 80] != 128).any()
    present[0, wrist] = False
    assert (draw_poses(GREY, keypoints, present, COCO_17)[60, 80] == 128).all()


def test_left_is_warm_and_right_is_cool() -> None:
    keypoints = spread_pose(17)
    drawn = draw_poses(GREY, keypoints, np.ones((1, 17), bool), COCO_17)
    for side, warm in (("left_wrist", True), ("right_wrist", False)):
        x, y = keypoints[0, COCO_17.index[side]].astype(int)
        blue, _, red = drawn[y, x].astype(int)
        assert (red > blue) == warm


def test_ids_have_lasting_and_different_colours() -> None:
    colours = [id_colour(i) for i in range(8)] + [id_colour("7")]
    assert len(set(colours)) == len(colours)
    assert id_colour("anna") == id_colour("anna") != id_colour("berta")


def test_doubtful_joints_are_smaller() -> None:
    picture = np.full((600, 200, 3), 128, np.uint8)
    keypoints, present = np.zeros((1, 17, 2), np.float32), np.zeros((1, 17), bool)
    keypoints[0, [5, 9]], present[0, [5, 9]] = [(100, 50), (100, 550)], True  # shoulder and wrist: no limb between
    doubtful, certain = (
        int((draw_poses(picture, keypoints, present, COCO_17, scores=np.full((1, 17), score)) != 128).sum())
        for score in (0.1, 1.0)
    )
    assert 0 < doubtful < certain


@given(
    st.lists(st.floats(width=32), min_size=50, max_size=50), st.lists(st.booleans(), min_size=25, max_size=25)
)  # NaN, infinity and far away
def test_any_coordinates_can_be_drawn(coordinates: list[float], found: list[bool]) -> None:
    keypoints = np.array(coordinates, np.float32).reshape(1, 25, 2)
    drawn = draw_poses(GREY, keypoints, np.array([found]), BODY_25, track_ids=[3])
    assert drawn.shape == GREY.shape


def test_nobody_leaves_the_picture_as_it_is() -> None:
    drawn = draw_poses(GREY, np.zeros((0, 17, 2), np.float32), np.zeros((0, 17), bool), COCO_17)
    np.testing.assert_array_equal(drawn, GREY)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="coco17"):
        draw_poses(GREY, np.zeros((1, 18, 2), np.float32), np.ones((1, 18), bool), COCO_17)
    with pytest.raises(InputError, match="one size"):
        side_by_side(GREY, GREY[:-1])


def test_side_by_side_keeps_both_pictures() -> None:
    left, right = GREY // 2, GREY + 50
    both = side_by_side(left, right, ("before", "after"))
    np.testing.assert_array_equal(both[-HEIGHT:, :WIDTH], left)
    np.testing.assert_array_equal(both[-HEIGHT:, -WIDTH:], right)
    assert len(np.unique(both[:-HEIGHT])) > 1  # the captions

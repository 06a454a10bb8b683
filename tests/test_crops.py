from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.crops import CropTransform, crop_transform, keypoint_boxes
from posefix_track.errors import InputError

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "posefix_reference" / "affine.npz"
needs_golden = pytest.mark.skipif(not GOLDEN.is_file(), reason="no ../shared/golden beside the checkout")

SIZE = (64, 48)
# float32 coordinates below 512 are 3e-5 apart, and every map is computed in float64.
ROUND_TRIP_PX = 1e-4

_corner = st.floats(0, 200)
_side = st.floats(20, 300)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def at_scale(scale: float, x: float = 0.0, y: float = 0.0) -> CropTransform:
    """A crop of SIZE whose pixel (0, 0) shows image pixel (x, y)."""
    return CropTransform(np.array([[[scale, 0, -scale * x], [0, scale, -scale * y]]], np.float64), SIZE)


@settings(deadline=None)
@given(_corner, _corner, _side, _side, st.floats(-180, 180))
def test_points_come_back_from_the_crop(x: float, y: float, width: float, height: float, degrees: float) -> None:
    transform = crop_transform(np.array([[x, y, x + width, y + height]]), SIZE, 1.25, degrees)
    points = np.random.default_rng(0).uniform((x, y), (x + width, y + height), (1, 17, 2)).astype(np.float32)
    assert np.abs(transform.to_image(transform.to_crop(points)) - points).max() < ROUND_TRIP_PX


@settings(deadline=None)
@given(_corner, _corner, _side, _side, st.floats(-180, 180), st.floats(0.5, 2), st.booleans())
def test_the_map_is_the_originals_but_for_the_middle(
    x: float, y: float, width: float, height: float, degrees: float, padding: float, centred: bool
) -> None:
    transform = crop_transform(np.array([[x, y, x + width, y + height]]), SIZE, padding, degrees, centred)
    # p' = (W/2, H/2) + W / box_width * R(-theta) (p - centre), or ((W-1)/2, (H-1)/2) + the same
    middle = np.array([SIZE[1] - 1, SIZE[0] - 1]) / 2 if centred else np.array([SIZE[1], SIZE[0]]) / 2
    box_width = max(width, height * SIZE[1] / SIZE[0]) * padding
    t = -np.deg2rad(degrees)
    rotation = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    point, centre = np.array([x + 3, y + 5]), np.array([x + width / 2, y + height / 2])
    expected = middle + SIZE[1] / box_width * rotation @ (point - centre)
    np.testing.assert_allclose(transform.to_crop(point[None, None])[0, 0], expected, atol=ROUND_TRIP_PX)


@pytest.mark.parametrize("extent", [(30, 90), (90, 30)])
def test_a_padded_box_fills_the_crop_in_one_direction(extent: tuple[int, int]) -> None:
    box = np.array([[10.0, 20.0, 10 + extent[0], 20 + extent[1]]])
    transform = crop_transform(box, SIZE, padding=1.5)
    low, high = transform.to_crop(box.reshape(1, 2, 2))[0]
    share = (high - low) / (SIZE[1], SIZE[0])
    np.testing.assert_allclose(share.max(), 1 / 1.5, rtol=1e-6)
    np.testing.assert_allclose((low + high) / 2, ((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2), rtol=1e-6)
    np.testing.assert_allclose(transform.scale, (high - low)[0] / extent[0], rtol=1e-6)


def mirrored_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    x1, y1, x2, y2 = boxes.T
    return np.stack([width - 1 - x2, y1, width - 1 - x1, y2], 1)


# Trackers round to pixels, halves and quarters of them.
_place = st.floats(-100, 300) | st.integers(-400, 1200).map(lambda quarters: quarters / 4)


@settings(max_examples=200, deadline=None)
@given(_place, _place, st.floats(20, 400) | st.integers(20, 400), st.floats(20, 400), st.integers(200, 251))
def test_the_crop_of_a_mirrored_picture_is_the_mirrored_crop(
    x: float, y: float, width: float, height: float, picture: int
) -> None:
    """Of people smaller than the crop and up to ten times as large."""
    image, boxes = noise(180, picture), np.array([[x, y, x + width, y + height]])
    crop = crop_transform(boxes, SIZE, 1.25).crop(image)
    there = crop_transform(mirrored_boxes(boxes, picture), SIZE, 1.25).crop(np.ascontiguousarray(image[:, ::-1]))
    # Positions that are the same but for float64 rounding, and a rounded grey level.
    assert np.abs(there[:, :, ::-1].astype(int) - crop).max() <= 1


def test_a_right_angle_turns_right_into_up() -> None:
    transform = crop_transform(np.array([[0.0, 0.0, 47.0, 63.0]]), SIZE, 1.0, 90.0)
    # Ten pixels to the right of the middle.
    found = transform.to_crop(np.array([[(33.5, 31.5)]]))[0, 0]
    np.testing.assert_allclose(found, (23.5, 31.5 - 10 * transform.scale[0]), atol=1e-5)


def test_each_person_has_its_own_rotation() -> None:
    boxes = np.tile([[0.0, 0.0, 48.0, 64.0]], (2, 1))
    both = crop_transform(boxes, SIZE, 1.0, np.array([0.0, 30.0]))
    alone = crop_transform(boxes[:1], SIZE, 1.0, 30.0)
    np.testing.assert_array_equal(both.image_to_crop[1], alone.image_to_crop[0])
    np.testing.assert_allclose(both.scale, 1.0)


@pytest.mark.parametrize("degrees", [0.0, 25.0, -110.0])
def test_picture_and_points_move_together(degrees: float) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[59:62, 89:92] = 255
    transform = crop_transform(np.array([[60.0, 30.0, 110.0, 90.0]]), SIZE, 1.25, degrees)
    crop = transform.crop(image)[0, :, :, 0].astype(float)
    rows, columns = np.indices(crop.shape)
    centre = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    # Bilinear sampling of a 3 px dot moves its centre of mass by less than a quarter pixel.
    assert np.abs(centre - transform.to_crop(np.array([[(90.0, 60.0)]]))[0, 0]).max() < 0.25


@needs_golden
def test_the_map_equals_recorded_ones() -> None:
    golden = np.load(GOLDEN)
    for i, (x, y, width, height) in enumerate(golden["boxes"].astype(np.float64)):
        box = np.array([[x, y, x + width, y + height]])
        scale, rotation = golden["scale_factor"][i], golden["rotation"][i]
        transform = crop_transform(box, (256, 192), 1.25 * scale, rotation, centred=False)
        # The original fits its matrix to three float32 points.
        np.testing.assert_allclose(transform.image_to_crop[0], golden["trans"][i], atol=1e-3)
        np.testing.assert_allclose(transform.to_crop(golden["points"][None])[0], golden["points_out"][i], atol=1e-3)


@needs_golden
def test_the_plain_crop_equals_recorded_ones() -> None:
    golden = np.load(GOLDEN)
    crops = CropTransform(golden["trans"], (256, 192)).crop(golden["image"], antialias=False)
    difference = np.abs(crops.astype(int) - golden["warped"])
    # Recorded with OpenCV 4, whose fixed-point interpolation differs from version 5's by up to 5 grey levels.
    assert difference.max() <= 5
    assert (difference > 1).mean() < 0.01


def test_at_scale_one_the_crop_is_the_picture() -> None:
    image = noise(100, 90)
    np.testing.assert_array_equal(at_scale(1, 7, 11).crop(image)[0], image[11:75, 7:55])


def test_everybody_is_cut_out_of_one_picture() -> None:
    image = noise(100, 90)
    both = CropTransform(np.concatenate([at_scale(1).image_to_crop, at_scale(1, 30, 20).image_to_crop]), SIZE)
    np.testing.assert_array_equal(both.crop(image), np.stack([image[:64, :48], image[20:84, 30:78]]))


def test_outside_the_picture_is_black() -> None:
    image = np.full((40, 30, 3), 200, np.uint8)
    crop = at_scale(1, -10, -20).crop(image)[0]
    assert (crop[20:60, 10:40] == 200).all()
    crop[20:60, 10:40] = 0
    assert not crop.any()


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_a_person_outside_the_picture_is_black(scale: float) -> None:
    image = np.full((40, 30, 3), 200, np.uint8)
    for x, y in ((500, 0), (0, 500), (-5000, 0), (0, -5000)):
        assert not at_scale(scale, x, y).crop(image).any()


def test_an_antialiased_crop_averages_the_pixels_that_fall_together() -> None:
    image = noise(240, 180)
    # Crop pixel (u, v) lies on the centre of the 3 x 3 block at (3u, 3v).
    crop = at_scale(1 / 3, 1, 1).crop(image)[0]
    for v, u in np.ndindex(SIZE):
        block = image[3 * v : 3 * v + 3, 3 * u : 3 * u + 3].astype(np.float64)
        # Averaging and interpolation each round by half a grey level.
        assert np.abs(crop[v, u] - block.mean((0, 1))).max() <= 1


@settings(deadline=None)
@given(st.floats(0.11, 0.49), st.floats(20, 60), st.floats(20, 50))
def test_an_antialiased_gradient_keeps_its_place(scale: float, x: float, y: float) -> None:
    rows, columns = np.indices((600, 500))
    image = np.stack([columns // 2, rows // 3, (rows + columns) // 5], -1).astype(np.uint8)
    crop = at_scale(scale, x, y).crop(image)[0]
    v, u = np.indices(SIZE)
    px, py = x + u / scale, y + v / scale
    # Whole-number division rounds down: on average by (n - 1) / 2n.
    expected = np.stack([px / 2 - 1 / 4, py / 3 - 1 / 3, (px + py) / 5 - 2 / 5], -1)
    # Blocks at the border are partly black.
    inside = (px < 480) & (py < 580)
    # The gradient's own steps of up to half a grey level, and two roundings.
    assert np.abs(crop - expected)[inside].max() < 1.6


def test_antialiasing_removes_a_pattern_finer_than_the_crop() -> None:
    image = np.zeros((256, 192, 3), np.uint8)
    image[:, ::2] = 255
    plain, smooth = (at_scale(1 / 4).crop(image, antialias)[0, 1:-1, 1:-1].std() for antialias in (False, True))
    assert plain > 100 or plain == 0  # bilinear sampling sees one stripe or the other
    assert smooth < 2
    assert abs(at_scale(1 / 4).crop(image)[0, 1:-1, 1:-1].mean() - 127.5) < 2


# Scales without rounding: the matrices differ by nothing but the shift.
@pytest.mark.parametrize("scale", [2.0, 1.0, 0.5, 0.25])
def test_whole_pixels_of_shift_shift_the_crop_exactly(scale: float) -> None:
    image = noise(400, 360)
    shifted = np.roll(image, (13, 21), (0, 1))
    before = at_scale(scale, 20.25, 30.75).crop(image)
    np.testing.assert_array_equal(at_scale(scale, 41.25, 43.75).crop(shifted), before)


@pytest.mark.parametrize(
    "image",
    [np.zeros((9, 9, 3), np.float32), np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8)],
    ids=["float", "grey", "alpha"],
)
def test_pictures_of_another_kind_are_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"an image must be uint8 \[H, W, 3\], got"):
        at_scale(1).crop(image)


def test_matrices_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[N, 2, 3\], got \[2, 3\]"):
        CropTransform(np.eye(2, 3), SIZE)


def test_boxes_hold_the_present_joints_only() -> None:
    keypoints = np.array([[(10, 20), (40, 80), (0, 0), (np.nan, 5)]], np.float32)
    present = np.array([[True, True, False, False]])
    np.testing.assert_array_equal(keypoint_boxes(keypoints, present), [[10, 20, 40, 80]])


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((50, 60), [40, 50, 60, 70]),  # one point
        ((50, 90), [40, 60, 60, 90]),  # upright line
        ((90, 60), [50, 50, 90, 70]),  # level line
    ],
)
def test_a_side_without_extent_becomes_twenty_pixels(second: tuple[int, int], expected: list[int]) -> None:
    keypoints = np.array([[(50, 60), second]], np.float32)
    np.testing.assert_array_equal(keypoint_boxes(keypoints, np.ones((1, 2), bool)), [expected])


def test_a_person_without_joints_has_no_box_and_disturbs_nobody() -> None:
    keypoints = np.array([[(1, 2), (30, 40)], [(np.nan, np.nan), (0, 0)]], np.float32)
    boxes = keypoint_boxes(keypoints, np.array([[True, True], [False, False]]))
    np.testing.assert_array_equal(boxes[0], [1, 2, 30, 40])
    assert np.isnan(boxes[1]).all()


def test_nobody_has_no_boxes_and_no_crops() -> None:
    boxes = keypoint_boxes(np.zeros((0, 17, 2), np.float32), np.zeros((0, 17), bool))
    assert boxes.shape == (0, 4)
    assert crop_transform(boxes, SIZE, 1.4).crop(noise(50, 50)).shape == (0, *SIZE, 3)

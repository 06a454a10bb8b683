"""Crops on a device against the same crops made with cv2."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.crops import CropTransform, crop_transform
from posefix_track.errors import InputError
from posefix_track.tensor_crops import crop_tensor, to_device

SIZE = (64, 48)
CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]
# Both compute the same sum, in float32 and in cv2's own way, and round it.
GREY_LEVELS = 1


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def assert_same(
    transform: CropTransform, image: np.ndarray, antialias: bool = True, device: torch.device = CPU
) -> None:
    found = crop_tensor(transform, to_device(image, device), antialias).cpu()
    expected = transform.crop(image, antialias)
    assert found.dtype == torch.uint8 and found.shape == expected.shape
    assert np.abs(found.numpy().astype(int) - expected).max(initial=0) <= GREY_LEVELS


_box = st.tuples(st.floats(-300, 400), st.floats(-300, 400), st.floats(2, 900), st.floats(2, 900))


@settings(max_examples=60, deadline=None)
@given(st.lists(_box, max_size=6), st.integers(1, 300), st.integers(1, 400), st.booleans(), st.integers(0, 9))
def test_crops_equal_those_made_with_cv2(
    boxes: list[tuple[float, ...]], height: int, width: int, antialias: bool, seed: int
) -> None:
    """Any number of people, small and large, inside, outside and across the border of any picture."""
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    assert_same(crop_transform(corners, SIZE, 1.4), noise(height, width, seed), antialias)


@pytest.mark.parametrize("factor", range(1, 9))
def test_every_factor_of_averaging_rounds_alike(factor: int) -> None:
    # Few grey levels make many means that lie just between two of them.
    image = noise(500, 400) % 3 + 100
    transform = crop_transform(np.array([[30.0, 40, 30 + 48 * factor, 40 + 64 * factor]]), SIZE, 1.0)
    assert transform.averaged(image.shape).factor.tolist() == [factor]
    assert_same(transform, image)


@pytest.mark.parametrize("device", DEVICES)
def test_people_of_all_sizes_come_in_their_order(device: str) -> None:
    boxes = np.array([[10.0, 10, 10 + 20 * n, 10 + 30 * n] for n in (9, 1, 5, 1, 9, 3)])
    assert_same(crop_transform(boxes, SIZE, 1.4), noise(300, 400), device=torch.device(device))


def test_nobody_has_no_crops() -> None:
    crops = crop_tensor(crop_transform(np.zeros((0, 4)), SIZE, 1.4), torch.zeros((9, 9, 3), dtype=torch.uint8))
    assert crops.shape == (0, *SIZE, 3) and crops.dtype == torch.uint8


def test_a_rotated_crop_is_refused() -> None:
    transform = crop_transform(np.array([[0.0, 0, 9, 9]]), SIZE, 1.0, 5.0)
    with pytest.raises(InputError, match="must not be rotated"):
        crop_tensor(transform, torch.zeros((9, 9, 3), dtype=torch.uint8))


@pytest.mark.parametrize("image", [torch.zeros(9, 9, 3), torch.zeros((9, 9), dtype=torch.uint8)])
def test_pictures_of_another_kind_are_refused(image: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"an image must be uint8 \[H, W, 3\], got"):
        crop_tensor(crop_transform(np.zeros((0, 4)), SIZE, 1.0), image)


def test_views_and_read_only_pictures_are_copied() -> None:
    image = noise(20, 30)[::-1, ::2]
    image.flags.writeable = False
    copied = to_device(image, CPU)
    np.testing.assert_array_equal(copied.numpy(), image)
    copied.zero_()
    assert image.any()

"""Input poses as Gaussians, points, disks or nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor

from posefix_track.heatmaps import gaussian_heatmaps
from posefix_track.pose_maps import INPUT_POSES, pose_maps

SIZE = (64, 48)
STRIDES = (1, 16, 8, 4)
DRAWN = [kind for kind in INPUT_POSES if kind != "none"]


def drawn(kind: str, keypoints: Tensor, peaks: Tensor | None = None) -> list[Tensor]:
    peaks = torch.full(keypoints.shape[:2], 2.0) if peaks is None else peaks
    return pose_maps(kind, keypoints, peaks, SIZE, 5.3, torch.float32)


def random_pose() -> Tensor:
    return torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([44.0, 60.0])


def block_means(maps: Tensor, stride: int) -> np.ndarray:
    blocks = maps.double().numpy().reshape(2, 5, SIZE[0] // stride, stride, SIZE[1] // stride, stride)
    return np.asarray(blocks.mean((3, 5)))


@pytest.mark.parametrize("kind", DRAWN)
def test_there_is_a_map_a_joint_at_every_stride(kind: str) -> None:
    shapes = [maps.shape for maps in drawn(kind, random_pose())]
    assert shapes == [(2, 5, SIZE[0] // s, SIZE[1] // s) for s in STRIDES]


def test_without_an_input_pose_there_are_no_maps() -> None:
    assert drawn("none", random_pose()) == []


def test_gaussians_follow_the_formula() -> None:
    pose = random_pose()
    torch.testing.assert_close(drawn("gaussian", pose)[0], 2 * gaussian_heatmaps(pose, SIZE, 5.3))


@pytest.mark.parametrize("kind", ["gaussian", "disk"])
def test_gaussians_and_disks_are_averaged_over_blocks(kind: str) -> None:
    full, *pooled = drawn(kind, random_pose())
    for maps, stride in zip(pooled, STRIDES[1:], strict=True):
        np.testing.assert_allclose(maps, block_means(full, stride), atol=1e-6)  # float32


def test_points_are_spread_over_four_pixels_and_keep_their_weight_at_every_stride() -> None:
    full, *pooled = drawn("one_hot", torch.tensor([[(10.25, 20.5)]]))
    assert full[0, 0, 20:22, 10:12].tolist() == [[0.75, 0.25], [0.75, 0.25]]
    assert (full > 0).sum() == 4
    for maps in (full, *pooled):
        assert abs(maps.sum().item() - 2) < 1e-5  # float32


def test_disks_hold_the_pixels_within_the_radius() -> None:
    pose = random_pose()
    y, x = np.indices(SIZE)
    for (kx, ky), disk in zip(pose[0].numpy(), drawn("disk", pose)[0][0], strict=True):
        np.testing.assert_array_equal(disk, 2.0 * ((x - kx) ** 2 + (y - ky) ** 2 <= 5.3**2))


@pytest.mark.parametrize("kind", DRAWN)
def test_joints_of_no_weight_leave_no_trace(kind: str) -> None:
    peaks = torch.tensor([[2.0, 0.0, 2.0, 0.0, 0.0], [0.0, 2.0, 2.0, 2.0, 2.0]])
    for maps in drawn(kind, random_pose(), peaks):
        assert ((maps.sum((2, 3)) > 0) == (peaks > 0)).all()


@pytest.mark.parametrize("kind", DRAWN)
def test_maps_have_the_type_asked_for(kind: str) -> None:
    maps = pose_maps(kind, random_pose(), torch.ones(2, 5), SIZE, 4.0, torch.float16)
    assert {one.dtype for one in maps} == {torch.float16}

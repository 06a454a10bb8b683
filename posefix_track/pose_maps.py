"""How an input pose is drawn for the network: one map a joint, beside the image and at the strides of the skips.

PoseFix draws Gaussians ("coarse"; paper eq. 1), its ablation single points ("fine"), PoseRefiner (Fieraru et al. 2018)
binary disks, and a plain pose estimator nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from posefix_track.heatmaps import block_mean, gaussian_profiles, outer

INPUT_POSES = ("gaussian", "one_hot", "disk", "none")
_STRIDES = (16, 8, 4)


def pose_maps(
    kind: str, keypoints: Tensor, peaks: Tensor, size: tuple[int, int], radius: float, dtype: torch.dtype
) -> list[Tensor]:
    """Maps of the input pose at strides 1, 16, 8 and 4.

    Args:
        kind: one of INPUT_POSES.
        keypoints: float32 [B, K, 2], pixels.
        peaks: float32 [B, K], value at a joint; 0 leaves it out.
        size: (height, width) of the crop.
        radius: pixels; standard deviation of a Gaussian, radius of a disk; a point has none.
        dtype: of the result.

    Returns:
        four tensors [B, K, height / stride, width / stride]; none for "none".
    """
    if kind == "none":
        return []
    if kind == "disk":
        full = disks(keypoints, size, radius) * peaks[..., None, None]
        return [full.to(dtype), *(F.avg_pool2d(full, stride).to(dtype) for stride in _STRIDES)]
    down, across = gaussian_profiles(keypoints, size, radius) if kind == "gaussian" else point_profiles(keypoints, size)
    down = down * peaks[..., None]
    # Means over blocks would leave nothing of a point: it is a point at every stride, a sum over blocks.
    gain = [1.0 if kind == "gaussian" else float(stride * stride) for stride in _STRIDES]
    # A mean over blocks of a separable map is separable too: pooled poses cost next to nothing.
    pooled = [outer(block_mean(down, s) * g, block_mean(across, s)) for s, g in zip(_STRIDES, gain, strict=True)]
    return [outer(down.to(dtype), across.to(dtype)), *(pose.to(dtype) for pose in pooled)]


def point_profiles(keypoints: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Factors, down [B, K, height] and across [B, K, width], of maps that hold 1 on the four pixels round a joint."""
    rows, columns = (torch.arange(n, device=keypoints.device, dtype=torch.float32) for n in size)
    across = (1 - (columns - keypoints[..., 0:1]).abs()).clamp(min=0)
    down = (1 - (rows - keypoints[..., 1:2]).abs()).clamp(min=0)
    return down, across


def disks(keypoints: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    """1 within ``radius`` pixels of each joint, else 0: [B, K, 2] -> float32 [B, K, height, width]."""
    rows, columns = (torch.arange(n, device=keypoints.device, dtype=torch.float32) for n in size)
    across = (columns - keypoints[..., 0:1]).square()
    down = (rows - keypoints[..., 1:2]).square()
    return (down[..., :, None] + across[..., None, :] <= radius * radius).float()

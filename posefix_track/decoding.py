"""What the head's outputs mean: maps -> joint positions in heatmap cells, and where the probability lies.

PoseFix reads the mean of a softmax heatmap (integral regression), this project's weights the place where the keypoint
similarity to expect under it is highest, a heatmap network the maximum of a Gaussian, and PoseRefiner (Fieraru et al.
2018) the best cell of a score map with that cell's predicted offset.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from posefix_track.heatmaps import similarity_argmax, soft_argmax, softmax_heatmaps

OUTPUTS = ("soft_argmax", "similarity_argmax", "argmax", "offsets")
# PoseRefiner's offsets are in units of 7.2801 pixels where its disks have a radius of 0.8452830189 * 17 pixels
# (settings of its release).
OFFSET_UNIT = 7.2801 / (0.8452830189 * 17)


def channels(kind: str, joints: int) -> int:
    """How many maps the head has to make."""
    return 3 * joints if kind == "offsets" else joints


def decode(kind: str, outputs: Tensor, unit: float, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Positions float32 [B, K, 2] in cells, and probability maps float32 [B, K, h, w] that sum to 1.

    Args:
        kind: one of OUTPUTS.
        outputs: [B, channels, h, w] of the head.
        unit: of offsets, in cells.
        spread: float32 [K], of keypoint similarity, in cells.
    """
    outputs = outputs.float()
    if kind in ("soft_argmax", "similarity_argmax"):
        heatmaps = softmax_heatmaps(outputs)
        return read(kind, heatmaps, spread), heatmaps
    if kind == "argmax":
        positive = outputs.clamp(min=0) + 1e-6
        return peaks(outputs), positive / positive.sum((2, 3), keepdim=True)
    scores, offsets = scores_and_offsets(outputs)
    best = scores.flatten(2).argmax(2)
    moved = _at(offsets[:, :, 0], best), _at(offsets[:, :, 1], best)
    return _cell(best, scores.shape[3]) + torch.stack(moved, 2) * unit, softmax_heatmaps(scores)


def read(kind: str, heatmaps: Tensor, spread: Tensor) -> Tensor:
    """Positions [B, K, 2] in cells of softmax heatmaps, whichever of the two ways."""
    return soft_argmax(heatmaps) if kind == "soft_argmax" else similarity_argmax(heatmaps, spread)


def scores_and_offsets(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """[B, 3K, h, w] -> score logits [B, K, h, w] and offsets (x, y) [B, K, 2, h, w]."""
    joints = outputs.shape[1] // 3
    return outputs[:, :joints], outputs[:, joints:].reshape(-1, joints, 2, *outputs.shape[2:])


def peaks(heatmaps: Tensor) -> Tensor:
    """Each map's largest cell, moved a quarter of a cell towards the larger neighbour: [B, K, h, w] -> [B, K, 2]."""
    height, width = heatmaps.shape[2], heatmaps.shape[3]
    best = heatmaps.flatten(2).argmax(2)
    wide = F.pad(heatmaps, (1, 1, 1, 1), mode="replicate")
    x = _at(torch.sign(wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]), best)
    y = _at(torch.sign(wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]), best)
    found = _cell(best, width) + 0.25 * torch.stack([x, y], 2)
    return torch.stack([found[..., 0].clamp(0, width - 1), found[..., 1].clamp(0, height - 1)], 2)


def _cell(index: Tensor, width: int) -> Tensor:
    """Row-major numbers [B, K] -> (x, y) cells, float32 [B, K, 2]."""
    return torch.stack([index % width, torch.div(index, width, rounding_mode="floor")], 2).float()


def _at(maps: Tensor, index: Tensor) -> Tensor:
    """Values of maps [B, K, h, w] at row-major cell numbers [B, K]."""
    return maps.flatten(2).gather(2, index[..., None])[..., 0]

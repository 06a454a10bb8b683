"""PoseFix's two losses (paper eq. 4 and 5), those of its coarse ablation, of PoseRefiner and of the confidence head.

Each is a mean over the joints whose truth is known.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from posefix_track.heatmaps import gaussian_heatmaps
from posefix_track.network import STRIDE
from trainer.processes import mean_over_processes


def one_hot_heatmaps(keypoints: Tensor, size: tuple[int, int]) -> Tensor:
    """Targets: probability 1 spread bilinearly over the four cells round each joint (released code).

    Args:
        keypoints: float32 [B, K, 2] in heatmap cells.
        size: (h, w) cells.

    Returns:
        float32 [B, K, h, w] that sums to 1 for joints inside, renormalised at the rim; zeros for joints outside.
    """
    height, width = size
    xs = torch.arange(width, device=keypoints.device, dtype=torch.float32)
    ys = torch.arange(height, device=keypoints.device, dtype=torch.float32)
    across = (1 - (xs - keypoints[..., 0:1]).abs()).clamp(min=0)
    down = (1 - (ys - keypoints[..., 1:2]).abs()).clamp(min=0)
    target = down[..., :, None] * across[..., None, :]
    total = target.sum((2, 3), keepdim=True)
    return torch.where(total > 0, target / total.clamp(min=1e-12), target)


def heatmap_loss(log_heatmaps: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of softmax heatmaps against one-hot targets.

    Args:
        log_heatmaps: float32 [B, K, h, w], logarithms of probabilities.
        targets: float32 [B, K, 2], crop pixels.
        valid: bool [B, K].

    Returns:
        scalar, the mean over valid joints (the original divides by all joints).
    """
    target = one_hot_heatmaps(targets / STRIDE, (log_heatmaps.shape[2], log_heatmaps.shape[3]))
    return masked_mean(-(target * log_heatmaps).sum((2, 3)), valid)


def coordinate_loss(cells: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """L1 distance of joints [B, K, 2] in heatmap cells to the truth in crop pixels; mean over x, y and valid joints."""
    return masked_mean((cells - targets / STRIDE).abs().mean(2), valid)


def gaussian_loss(heatmaps: Tensor, targets: Tensor, valid: Tensor, sigma: float) -> Tensor:
    """Squared error of maps [B, K, h, w] against Gaussians of peak 1 round the truth in crop pixels.

    ``sigma`` in cells. Summed over the cells of a joint: a mean over hundreds of empty ones would leave tiny gradients.
    """
    target = gaussian_heatmaps(targets / STRIDE, (heatmaps.shape[2], heatmaps.shape[3]), sigma)
    return masked_mean((heatmaps.float() - target).square().sum((2, 3)), valid)


def score_loss(scores: Tensor, targets: Tensor, valid: Tensor, radius: float) -> Tensor:
    """PoseRefiner: cross-entropy of score logits [B, K, h, w] with 1 within ``radius`` cells of the truth, else 0."""
    near = _from_cells(targets, scores).norm(dim=2) <= radius
    loss = F.binary_cross_entropy_with_logits(scores.float(), near.float(), reduction="none")
    return masked_mean(loss.mean((2, 3)), valid)


def offset_loss(offsets: Tensor, targets: Tensor, valid: Tensor, radius: float, unit: float) -> Tensor:
    """PoseRefiner: Huber loss of offsets [B, K, 2, h, w] to the truth, over the cells within ``radius`` of it.

    ``radius`` in cells, ``unit`` in cells per unit of offset.
    """
    truth = _from_cells(targets, offsets)
    near = (truth.norm(dim=2) <= radius) & valid[..., None, None]
    loss = F.huber_loss(offsets.float(), truth / unit, reduction="none")
    return masked_mean(loss, near[:, :, None].expand_as(loss))


def _from_cells(targets: Tensor, maps: Tensor) -> Tensor:
    """From every cell of ``maps`` [B, K, ..., h, w] to the truth [B, K, 2] in crop pixels: cells [B, K, 2, h, w]."""
    rows, columns = (torch.arange(n, device=targets.device, dtype=torch.float32) for n in maps.shape[-2:])
    x, y = (targets / STRIDE).unbind(2)
    shape = (*targets.shape[:2], *maps.shape[-2:])
    across = (x[..., None, None] - columns).expand(shape)
    down = (y[..., None, None] - rows[:, None]).expand(shape)
    return torch.stack([across, down], 2)


def keypoint_similarity(keypoints: Tensor, targets: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """KS = exp(-d^2 / (2 area (2 sigma)^2)) (COCO), float32 [B, K], for [B, K, 2] pixels and [B] square pixels."""
    distance = (keypoints - targets).square().sum(2)
    return torch.exp(-distance / (2 * area[:, None] * (2 * sigmas) ** 2))


def similarity_loss(similarity: Tensor, valid: Tensor) -> Tensor:
    """1 - KS of the refined joints [B, K]: what AP measures. Presses for precision where a joint is nearly right."""
    return masked_mean(1 - similarity, valid)


def confidence_loss(ks_logits: Tensor, similarity: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy of predicted against true similarity; [B, K, 2] logits, values and mask."""
    return masked_mean(F.binary_cross_entropy_with_logits(ks_logits.float(), similarity, reduction="none"), known)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask``; 0 (with a gradient) where nothing is.

    Where several processes train together, they divide by the same number, so that the mean of their losses is that of
    the whole batch.
    """
    chosen = torch.where(mask, values, torch.zeros_like(values))
    return chosen.sum() / mean_over_processes(mask.sum()).clamp(min=1)

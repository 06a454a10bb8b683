"""Heatmaps: Gaussians of input poses, probability maps, and the coordinates read from them.

B people, K joints; a map of (h, w) cells, cell (0, 0) at coordinate (0, 0).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_heatmaps(keypoints: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """exp(-|p - joint|^2 / (2 sigma^2)) on a pixel grid (paper eq. 1; peak 1).

    Args:
        keypoints: float32 [B, K, 2], sub-pixel centres in pixels of the grid; outside is allowed.
        size: (height, width) of the grid.
        sigma: pixels.

    Returns:
        float32 [B, K, height, width].
    """
    return outer(*gaussian_profiles(keypoints, size, sigma))


def gaussian_profiles(keypoints: Tensor, size: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    """The two factors of ``gaussian_heatmaps``, down [B, K, height] and across [B, K, width].

    A Gaussian is separable: H + W exponentials a joint in place of H * W.
    """
    ys, xs = _cells(size, keypoints)
    keypoints = keypoints.float() / sigma
    across = torch.exp(-0.5 * (xs / sigma - keypoints[..., 0:1]) ** 2)
    down = torch.exp(-0.5 * (ys / sigma - keypoints[..., 1:2]) ** 2)
    return down, across


def softmax_heatmaps(logits: Tensor) -> Tensor:
    """Probabilities over the h*w cells of each joint, in float32 (half precision would cost 0.1 pixel)."""
    return F.softmax(logits.float().flatten(2), dim=2).view(logits.shape)


def log_softmax_heatmaps(logits: Tensor) -> Tensor:
    """Logarithms of ``softmax_heatmaps``: what a cross-entropy is measured on without loss of small numbers."""
    return F.log_softmax(logits.float().flatten(2), dim=2).view(logits.shape)


def soft_argmax(heatmaps: Tensor) -> Tensor:
    """Expected (x, y) cell of probability maps [B, K, h, w] -> float32 [B, K, 2], cells counted from 0."""
    ys, xs = _cells((heatmaps.shape[2], heatmaps.shape[3]), heatmaps)
    x = (heatmaps.sum(2) * xs).sum(2)
    y = (heatmaps.sum(3) * ys).sum(2)
    return torch.stack([x, y], 2)


def similarity_argmax(heatmaps: Tensor, spread: Tensor, steps: int = 3) -> Tensor:
    """The cell (x, y) where the keypoint similarity to expect under probability maps is highest.

    The mean of a map with two peaks lies between them, where no joint is. This starts at the best grid cell of the
    map smoothed by the similarity exp(-d^2 / (2 spread^2)) and climbs from there by mean shift (Comaniciu and Meer,
    2002), whose fixed points are the maxima of the smoothed map.

    Args:
        heatmaps: float32 [B, K, h, w], each sums to 1.
        spread: float32 [K], cells.
        steps: of mean shift; gradients pass through them.

    Returns:
        float32 [B, K, 2], cells counted from 0.
    """
    height, width = heatmaps.shape[2:]
    expected = _similarities(height, spread) @ heatmaps.detach() @ _similarities(width, spread)
    index = expected.flatten(2).argmax(2)
    rows = torch.div(index, width, rounding_mode="floor")
    cells = torch.stack([index - rows * width, rows], 2).float()
    for _ in range(steps):
        cells = _mean_shift(heatmaps, cells, spread)
    return cells


def expected_similarity(heatmaps: Tensor, cells: Tensor, spread: Tensor) -> Tensor:
    """Keypoint similarity to expect of positions [B, K, 2] under probability maps [B, K, h, w]: float32 [B, K]."""
    down, across = _similarity_profiles(cells, heatmaps, spread)
    return ((heatmaps @ across[..., None])[..., 0] * down).sum(2)


def _mean_shift(heatmaps: Tensor, cells: Tensor, spread: Tensor) -> Tensor:
    ys, xs = _cells((heatmaps.shape[2], heatmaps.shape[3]), heatmaps)
    down, across = _similarity_profiles(cells, heatmaps, spread)
    rows = (heatmaps @ across[..., None])[..., 0] * down
    columns = (down[..., None, :] @ heatmaps)[..., 0, :] * across
    total = rows.sum(2).clamp(min=1e-9)
    return torch.stack([(columns * xs).sum(2) / total, (rows * ys).sum(2) / total], 2)


def _similarity_profiles(cells: Tensor, heatmaps: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Separable similarity of every row and column to positions, down [B, K, h] and across [B, K, w]."""
    scaled = cells / spread[:, None]
    ys, xs = _cells((heatmaps.shape[2], heatmaps.shape[3]), heatmaps)
    down = torch.exp(-0.5 * (ys / spread[:, None] - scaled[..., 1:2]) ** 2)
    across = torch.exp(-0.5 * (xs / spread[:, None] - scaled[..., 0:1]) ** 2)
    return down, across


def _similarities(length: int, spread: Tensor) -> Tensor:
    """exp(-(i - j)^2 / (2 spread^2)) of all pairs of cells along one side, [K, length, length]."""
    cells = torch.arange(length, device=spread.device, dtype=torch.float32)
    return torch.exp(-0.5 * ((cells[:, None] - cells) / spread[:, None, None]) ** 2)


def _cells(size: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column numbers of a grid, on the device of ``like``."""
    rows, columns = (torch.arange(n, device=like.device, dtype=torch.float32) for n in size)
    return rows, columns


def outer(down: Tensor, across: Tensor) -> Tensor:
    """Profiles [B, K, H] and [B, K, W] -> maps [B, K, H, W]."""
    return down[..., :, None] * across[..., None, :]


def block_mean(profile: Tensor, size: int) -> Tensor:
    """Mean over blocks of ``size``: [B, K, L] -> [B, K, L / size]."""
    return F.avg_pool1d(profile, size)


def heatmap_spread(heatmaps: Tensor) -> Tensor:
    """Standard deviation of probability maps [B, K, h, w] in cells, [B, K]."""
    ys, xs = _cells((heatmaps.shape[2], heatmaps.shape[3]), heatmaps)
    across, down = heatmaps.sum(2), heatmaps.sum(3)
    variance = (across * xs**2).sum(2) - (across * xs).sum(2) ** 2
    variance = variance + (down * ys**2).sum(2) - (down * ys).sum(2) ** 2
    return variance.clamp(min=0).sqrt()

"""The confidence head: how near to the truth the refined and the input joint are to be expected."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posefix_track.heatmaps import expected_similarity, gaussian_heatmaps, heatmap_spread

_PERSON, _JOINT = 32, 16
_MEASURES = 7


class Confidence(nn.Module):
    """Predicts, per joint, logits of the keypoint similarity of the refined and of the input position.

    It sees the stride-4 features at both positions, the whole person, and what the heatmap says of either position; of
    the latter also the mean over all joints, since a person in a crowd makes every joint doubtful. It never sends
    gradients into the rest of the network.

    Args:
        deep_channels, channels: of the deepest and of the stride-4 features.
        spread: float32 [K], standard deviation of keypoint similarity in heatmap cells.
    """

    WIDTH = 96
    spread: Tensor

    def __init__(self, deep_channels: int, channels: int, spread: Tensor) -> None:
        super().__init__()
        self.person = nn.Linear(deep_channels, _PERSON)
        self.joint = nn.Parameter(torch.randn(len(spread), _JOINT) * 0.1)
        self.hidden = nn.Linear(2 * channels + _PERSON + _JOINT + 2 * _MEASURES, self.WIDTH)
        self.deeper = nn.Linear(self.WIDTH, self.WIDTH)
        self.out = nn.Linear(self.WIDTH, 2)
        self.register_buffer("spread", spread, persistent=False)

    def forward(
        self, features: Tensor, deepest: Tensor, heatmaps: Tensor, refined: Tensor, keypoints: Tensor, present: Tensor
    ) -> Tensor:
        """Logits [B, K, 2].

        Args:
            features, deepest: [B, C, h, w] at stride 4 and [B, D, ., .].
            heatmaps: float32 [B, K, h, w], each sums to 1.
            refined, keypoints: [B, K, 2], output and input joints in heatmap cells.
            present: float32 [B, K], 1 where the input has the joint.
        """
        features, deepest = features.detach().float(), deepest.detach().float()
        heatmaps, refined = heatmaps.detach(), refined.detach()
        batch, joints = present.shape
        flat = features.flatten(2).transpose(1, 2)
        at_refined = _weights_near(refined, heatmaps) @ flat
        at_input = (_weights_near(keypoints, heatmaps) @ flat) * present[..., None]
        person = F.relu(self.person(deepest.mean((2, 3))))[:, None].expand(batch, joints, _PERSON)
        joint = self.joint[None].expand(batch, joints, _JOINT)
        measures = self._measures(heatmaps, refined, keypoints, present)
        everywhere = measures.mean(1, keepdim=True).expand(batch, joints, _MEASURES)
        x = F.relu(self.hidden(torch.cat([at_refined, at_input, person, joint, measures, everywhere], 2)))
        return cast(Tensor, self.out(F.relu(self.deeper(x))))

    def _measures(self, heatmaps: Tensor, refined: Tensor, keypoints: Tensor, present: Tensor) -> Tensor:
        """[B, K, 7]: peak, expected similarity of either position, their similarity, distance, spread, presence."""
        of_refined = expected_similarity(heatmaps, refined, self.spread)
        of_input = expected_similarity(heatmaps, keypoints, self.spread) * present
        # Not the norm divided by the spread: OpenVINO 2026.4 fuses a sum with a division by K numbers, wrongly.
        distance = ((refined - keypoints) / self.spread[:, None]).norm(dim=2) * present
        wide = heatmap_spread(heatmaps) / self.spread
        columns = [heatmaps.flatten(2).amax(2), of_refined, of_input, torch.exp(-0.5 * distance**2) * present]
        return torch.stack([*columns, torch.log1p(distance), torch.log1p(wide), present], 2)


def _weights_near(cells: Tensor, heatmaps: Tensor) -> Tensor:
    """Weights [B, K, h * w] of the cells within about one of each position, which sum to 1 (0 far outside)."""
    near = gaussian_heatmaps(cells, (heatmaps.shape[2], heatmaps.shape[3]), 1.0).flatten(2)
    return near / (near.sum(2, keepdim=True) + 1e-6)

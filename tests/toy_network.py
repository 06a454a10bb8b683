"""A network of three layers with the interface of PoseFix: exported and compiled in seconds."""

import numpy as np
import torch
from torch import Tensor, nn

SIZE = (32, 64)
JOINTS = 6
STRIDE = 4

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


class ToyNetwork(nn.Module):
    """Convolution, transposed convolution, soft-argmax; the input pose pulls at the result."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.pull = 0.1
        self.first = nn.Conv2d(3, 8, 8, 8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 8, 4, 2, 1)
        self.final = nn.Conv2d(8, JOINTS, 1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)
        rows, columns = (torch.arange(side // STRIDE, dtype=torch.float32) * STRIDE for side in SIZE)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, images: Tensor, keypoints: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.permute(0, 3, 1, 2).float() / 255
        features = torch.relu(self.up(torch.relu(self.norm(self.first(pixels.to(self.final.weight.dtype))))))
        logits = self.final(features).float()
        heatmaps = torch.softmax(logits.flatten(2), 2).view(logits.shape)
        mean = torch.stack([(heatmaps.sum(2) * self.columns).sum(2), (heatmaps.sum(3) * self.rows).sum(2)], 2)
        seen = torch.where(present[..., None] > 0, keypoints, torch.zeros_like(keypoints))
        refined = mean + self.pull * seen
        return refined, torch.sigmoid(refined - 20)


def toy_inputs(batch: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (batch, *SIZE, 3)).astype(np.uint8)
    keypoints = (rng.random((batch, JOINTS, 2)) * SIZE[::-1]).astype(np.float32)
    return images, keypoints, rng.random((batch, JOINTS)) > 0.2


def toy_outputs(network: nn.Module, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        refined, similarity = network(*(torch.from_numpy(np.ascontiguousarray(column)) for column in inputs))
    return refined.numpy(), similarity.numpy()

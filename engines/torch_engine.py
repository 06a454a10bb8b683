"""PyTorch, eager: the reference that every other engine is compared with."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Float = npt.NDArray[np.float32]


class TorchEngine:
    """Runs the network as it is, in FP32."""

    def __init__(self, network: nn.Module, device: str = "cpu", max_batch: int = 16) -> None:
        self.device = torch.device(device)
        self.network = network.eval().to(self.device)
        self.name = f"torch {device} fp32"
        self.max_batch = max_batch

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        """See Engine."""
        # torch warns of arrays that it could not write to.
        inputs = (
            torch.from_numpy(np.require(a, None, ["C", "W"])).to(self.device) for a in (images, keypoints, present)
        )
        with torch.inference_mode():
            refined, similarity = self.network(*inputs)
        return refined.cpu().numpy(), similarity.cpu().numpy()

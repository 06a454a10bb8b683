"""An engine that only pretends: every joint goes the same way."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights import Weights

CONFIG = NetworkConfig(input_size=(64, 64), confidence=True)
LOADED = Weights(PoseFix(CONFIG), {}, "0" * 64)


@dataclass
class ShiftEngine:
    """Moves every joint by a fixed number of crop pixels, and expects given similarities."""

    shift: tuple[float, float] = (0.0, 0.0)
    expected: tuple[float, float] = (0.95, 0.3)
    max_batch: int = 4
    name: str = "shift"
    calls: int = 0

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        self.calls += 1
        assert len(images) == len(keypoints) == len(present) <= self.max_batch
        expected = np.broadcast_to(np.float32(self.expected), (*present.shape, 2))
        return keypoints + np.float32(self.shift), expected

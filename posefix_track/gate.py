"""The gate: how much of the way from the tracker's to the network's position a joint goes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError


@dataclass(frozen=True)
class Gate:
    """Do no harm: a joint moves where the network expects its own position to be nearer to the truth.

    Where both expectations are much alike the joint goes part of the way: the mean of two guesses of like quality is
    better than either.

    Attributes:
        margin: gain in expected keypoint similarity at which a joint goes half of the way.
        width: gains this far below and above the margin mean no move and the whole way.
    """

    margin: float = 0.0
    width: float = 0.05

    def __post_init__(self) -> None:
        if not (self.width >= 0 and abs(self.margin) <= 1):
            raise InputError(f"a gate's width must be at least 0 and its margin between -1 and 1, got {self}")

    def __str__(self) -> str:
        return f"gate margin {self.margin:g} width {self.width:g}"

    def share(self, expected_ks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 [...] in [0, 1] for expected similarities [..., 2] of the refined and of the input position."""
        gain = expected_ks[..., 0] - expected_ks[..., 1] - self.margin
        share: npt.NDArray[np.float32] = np.clip(0.5 + gain / (2 * max(self.width, 1e-9)), 0, 1).astype(np.float32)
        return share

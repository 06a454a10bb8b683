"""The gate: how much of the way from the tracker's to the network's position a joint goes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError

Float = npt.NDArray[np.float32]

# Farther than so many standard deviations two positions are equally different joints.
_FAR = 3.0


@dataclass(frozen=True)
class Gate:
    """Do no harm: a joint moves where the network expects its own position to be nearer to the truth.

    Where both expectations are much alike the joint goes part of the way: the mean of two guesses of like quality is
    better than either. The farther a joint would go, the more it has to gain: a network that sees another joint than
    the tracker is wrong more often than one that sees the same joint elsewhere. The defaults were chosen on COCO
    pictures so that fewer than 2 % of a tracker's good joints stop being good (docs/weights.md).

    Attributes:
        margin: gain in expected keypoint similarity at which a joint goes half of the way.
        width: gains this far below and above the margin mean no move and the whole way.
        slope: by how much the margin grows with each standard deviation of keypoint similarity between both positions.
    """

    margin: float = 0.01
    width: float = 0.08
    slope: float = 0.11

    def __post_init__(self) -> None:
        if not (self.width >= 0 and self.slope >= 0 and abs(self.margin) <= 1):
            raise InputError(f"a gate needs width >= 0, slope >= 0 and a margin from -1 to 1, got {self}")

    def __str__(self) -> str:
        return f"gate margin {self.margin:g} width {self.width:g} slope {self.slope:g}"

    def share(self, expected_ks: Float, distance: Float) -> Float:
        """How much of the way joints go.

        Args:
            expected_ks: [..., 2], keypoint similarity expected of the refined and of the input position.
            distance: [...] between both, in standard deviations of keypoint similarity.

        Returns:
            float32 [...] in [0, 1].
        """
        gain = expected_ks[..., 0] - expected_ks[..., 1] - self.margin - self.slope * np.minimum(distance, _FAR)
        share: Float = np.clip(0.5 + gain / (2 * max(self.width, 1e-9)), 0, 1).astype(np.float32)
        return share

"""Made-up inputs, the same every time, by which an engine shows that it computes the network's function."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.engine import Engine, EngineError

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]

ROWS = 8
# Pixels of the crop. A wrong plan is off by whole heatmap cells of four pixels nearly everywhere.
_MEDIAN_PX = 0.25


@dataclass(frozen=True)
class Parity:
    """How far an engine's joints are from the FP32 network's on the golden inputs, in crop pixels.

    Attributes:
        batches: sizes that were run; every row of every batch counts.
        median_px, p99_px, max_px: over joints.
        rows_px: largest distance between the same row's results in batches of different sizes, and in different
            places of one batch.
    """

    batches: tuple[int, ...]
    median_px: float
    p99_px: float
    max_px: float
    rows_px: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "batches": list(self.batches)}


def golden_inputs(input_size: tuple[int, int], joints: int) -> Arrays:
    """ROWS smooth random pictures with a random pose each; every tenth joint absent."""
    rng = np.random.default_rng(20260101)
    height, width = input_size
    coarse = rng.random((ROWS, height // 16, width // 16, 3)).repeat(16, 1).repeat(16, 2)
    images = (255 * (0.8 * coarse + 0.2 * rng.random((ROWS, height, width, 3)))).astype(np.uint8)
    keypoints = ((0.1 + 0.8 * rng.random((ROWS, joints, 2))) * (width, height)).astype(np.float32)
    return images, keypoints, rng.random((ROWS, joints)) > 0.1


def parity(engine: Engine, inputs: Arrays, expected: npt.NDArray[np.float32], batches: tuple[int, ...]) -> Parity:
    """Run the golden inputs, again and again to fill each of ``batches``, and compare every row.

    Args:
        expected: float32 [ROWS, K, 2] of the FP32 network.

    Raises:
        EngineError: results that cannot come from this network.
    """
    found = np.concatenate([_rows(engine, inputs, batch) for batch in batches])
    distance = np.linalg.norm(found - expected, axis=-1)
    spread = float((found.max(0) - found.min(0)).max())
    median, p99 = (float(q) for q in np.quantile(distance, (0.5, 0.99)))
    # `not <=` also holds for NaN.
    if not median <= _MEDIAN_PX:
        raise EngineError(
            f"{engine.name} is {median:.2f} px off the FP32 network in the median on golden inputs; clear its plan with"
            " `python -m engines clear`, and use --engine torch if that does not help"
        )
    return Parity(batches, median, p99, float(distance.max()), spread)


def _rows(engine: Engine, inputs: Arrays, batch: int) -> npt.NDArray[np.float32]:
    """Results of the golden rows in batches of ``batch``: [places, ROWS, K, 2]."""
    copies = max(batch, ROWS) // ROWS
    images, keypoints, present = inputs
    repeated = np.arange(copies * ROWS) % ROWS
    groups = [repeated[i : i + batch] for i in range(0, len(repeated), batch)]
    parts = [engine(images[rows], keypoints[rows], present[rows])[0] for rows in groups]
    return np.concatenate(parts).reshape(copies, *[ROWS, *parts[0].shape[1:]])

"""How much boxes overlap."""

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def box_iou(rows: npt.NDArray[np.floating], columns: npt.NDArray[np.floating]) -> Float64:
    """Intersection over union of boxes [N, 4] and [M, 4] (x1, y1, x2, y2) -> float64 [N, M] in [0, 1].

    0 for two boxes without extent; NaN where a box is.
    """
    low, high = np.maximum(rows[:, None, :2], columns[:, :2]), np.minimum(rows[:, None, 2:], columns[:, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (rows, columns)]
    union = areas[0][:, None] + areas[1] - shared
    return np.asarray(shared / np.maximum(union, np.spacing(1)), np.float64)

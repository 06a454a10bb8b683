"""Joints as they are written into new files: coordinates with 2 decimals, scores with 4."""

import numpy as np
import numpy.typing as npt

from posefix_track.poses import FramePoses

# What is present must not be rounded to what means absent.
_LEAST_COORDINATE, _LEAST_SCORE = 0.01, 1e-4


def rounded_joints(frame: FramePoses) -> npt.NDArray[np.float64]:
    """float64 [N, K, 3]: x, y, score; absent joints are 0, 0, 0, and joints without scores have 1."""
    present = frame.present
    xy = np.where(present[..., None], frame.keypoints, 0).astype(np.float64).round(2)
    xy[present & (xy == 0).all(-1)] = _LEAST_COORDINATE
    given = np.ones(present.shape) if frame.scores is None else np.nan_to_num(frame.scores).astype(np.float64)
    scores = np.where(present, np.maximum(given.round(4), _LEAST_SCORE), 0)
    return np.concatenate([xy, scores[..., None]], axis=-1)

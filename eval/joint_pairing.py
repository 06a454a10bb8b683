"""One-to-one pairing of annotated with predicted joints of one frame, for all joint types at once.

Letters: N annotated and P predicted people of one frame, J joint types.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from eval.posetrack_frames import Bool, Float


def pair_joints(cost: Float, allowed: Bool, in_truth: Bool, in_prediction: Bool) -> Bool:
    """bool [N, P, J]: the cheapest one-to-one pairing of each joint type (Hungarian method), allowed pairs only.

    Args:
        cost: float64 [N, P, J]; a pair that is not allowed needs a finite cost as well, never below an allowed one's.
        allowed: bool [N, P, J].
        in_truth: bool [N, J], who has the joint at all; others are left out of the problem.
        in_prediction: bool [P, J], likewise.
    """
    # Where nobody competes there is nothing to solve, and that is nearly everywhere.
    contested = (allowed.sum(0) > 1).any(0) | (allowed.sum(1) > 1).any(0)
    paired: Bool = allowed & ~contested
    for joint in np.flatnonzero(contested):
        rows, columns = np.flatnonzero(in_truth[:, joint]), np.flatnonzero(in_prediction[:, joint])
        i, j = linear_sum_assignment(cost[np.ix_(rows, columns, [joint])][..., 0])
        paired[rows[i], columns[j], joint] = allowed[rows[i], columns[j], joint]
    return paired

"""Whether two histograms are of one distribution."""

import numpy as np
from scipy import stats


def same_distribution(ours: np.ndarray, theirs: np.ndarray, least: int = 20) -> float:
    """p-value of a chi-square test; neighbouring bins are merged until they hold ``least`` draws."""
    columns, held = [], np.zeros(2)
    for pair in np.stack([ours, theirs], -1):
        held = held + pair
        if held.sum() >= least * (1 + theirs.sum() / max(ours.sum(), 1)):
            columns.append(held)
            held = np.zeros(2)
    if len(columns) < 2:
        return 1.0
    columns[-1] = columns[-1] + held
    return float(stats.chi2_contingency(np.array(columns).T).pvalue)

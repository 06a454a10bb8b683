"""Bootstrap intervals: how far a number would move had other images of the same kind been annotated."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

RESAMPLES = 1000
# The middle 95 %.
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A measured value and its 95 % bootstrap interval, in the unit of the value."""

    value: float
    low: float
    high: float


def resample_weights(units: int, resamples: int = RESAMPLES, seed: int = 0) -> Float64:
    """How often each unit (an image) is drawn in each resample of ``units`` draws: float64 [resamples, units]."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, units))
    for row in weights:
        row += np.bincount(rng.integers(0, max(units, 1), units), minlength=units)
    return weights


def share(numerator: npt.ArrayLike, denominator: npt.ArrayLike, weights: Float64) -> Float64:
    """Share of the whole first and then of each resample.

    Args:
        numerator: [units] sums or counts in each unit.
        denominator: [units] what they are a share of.
        weights: float64 [resamples, units]; see ``resample_weights``.

    Returns:
        float64 [1 + resamples]; NaN where nothing is counted.
    """
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    tops, bottoms = np.append(top.sum(), weights @ top), np.append(bottom.sum(), weights @ bottom)
    return np.asarray(np.divide(tops, bottoms, out=np.full(len(tops), np.nan), where=bottoms > 0))


def interval(samples: Float64) -> Interval:
    """Interval of an array as ``share`` returns it: the value itself first; NaN resamples do not count."""
    value, finite = float(samples[0]), samples[1:][np.isfinite(samples[1:])]
    low, high = np.percentile(finite, _PERCENTILES) if len(finite) else (value, value)
    return Interval(value, float(low), float(high))

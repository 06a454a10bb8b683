"""How long things took, as percentiles over any number of them in constant memory."""

import math

import numpy as np

# Bins are this much wider than the one before, from a hundredth of a millisecond to some hours.
_RATIO = 1.01
_LEAST_SECONDS = 1e-5
_BINS = 2100
_PERCENTILES = (50, 95, 99)


class Latencies:
    """Durations, counted in bins that are 1 % wide."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    @property
    def count(self) -> int:
        """How many were added."""
        return int(self._counts.sum())

    def add(self, seconds: float) -> None:
        """Add one."""
        place = math.log(max(seconds, _LEAST_SECONDS) / _LEAST_SECONDS, _RATIO)
        self._counts[min(int(place), _BINS - 1)] += 1

    def percentile_ms(self, percent: float) -> float | None:
        """Milliseconds that this share of all took at most, to 1 %; None without any.

        Args:
            percent: (0, 100]; the smallest duration that at least so many per cent do not exceed ("nearest rank").
        """
        if not self.count:
            return None
        place = int(np.searchsorted(self._counts.cumsum(), math.ceil(percent / 100 * self.count)))
        # The middle of its bin.
        return float(1000 * _LEAST_SECONDS * _RATIO ** (place + 0.5))

    def to_dict(self) -> dict[str, int | float | None]:
        """Count and percentiles in milliseconds, for JSON."""
        found = {f"p{percent}": self.percentile_ms(percent) for percent in _PERCENTILES}
        return {"count": self.count, **{name: None if ms is None else round(ms, 2) for name, ms in found.items()}}

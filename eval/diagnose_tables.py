"""Counts, frequencies, transitions and intervals of a diagnosis."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.bootstrap import Interval, interval, resample_weights, share
from eval.diagnose import Diagnosis
from eval.diagnose_match import box_overlaps
from eval.diagnose_people import Int
from posefix_track.error_classes import ERROR_CLASSES, GOOD, NONE
from posefix_track.oks import Float64

# Ronchi & Perona's crowding benchmark: labelled joints, and other people whose box overlaps by an IoU above .1.
VISIBLE_BINS = (("1-5", 5), ("6-10", 10), ("11-15", 15), ("16 and more", 10**9))
OVERLAP_BINS = (("0", 0), ("1-2", 2), ("3 and more", 10**9))
# COCO's sizes in square pixels. The small ones are outside the main figures, as they are in COCO's evaluation.
SIZE_BINS = (("small", 32**2 - 1e-9), ("medium", 96**2), ("large", np.inf))
OKS_BIN = 0.05


@dataclass(frozen=True)
class Tally:
    """Joints counted by class in G groups.

    Attributes:
        groups: names of the groups.
        before: int64 [G, 5] joints of each class before refinement, in the order of ``ERROR_CLASSES``.
        after: likewise after refinement.
        transitions: int64 [G, 5, 5] joints of class i before and j after; joints that have a pose on both sides.
    """

    groups: tuple[str, ...]
    before: Int
    after: Int
    transitions: Int

    @property
    def good_before(self) -> Int:
        """int64 [G] joints that were good before and have a pose after."""
        return np.asarray(self.transitions[:, GOOD].sum(-1))

    @property
    def harmed(self) -> Int:
        """int64 [G] joints that were good before and are not after."""
        return np.asarray(self.good_before - self.transitions[:, GOOD, GOOD])

    def to_dict(self) -> dict[str, Any]:
        """By group: counts and frequencies (0 to 1) before and after, and the harm rate."""
        return {name: self._group(i) for i, name in enumerate(self.groups)}

    def _group(self, i: int) -> dict[str, Any]:
        return {
            "joints": int(self.before[i].sum()),
            "before": _counted(self.before[i]),
            "after": _counted(self.after[i]),
            "harm_rate": _ratio(self.harmed[i], self.good_before[i]),
        }


@dataclass(frozen=True)
class OksBins:
    """Mean OKS before and after of people grouped by their OKS before; 20 bins of width .05."""

    edges: Float64
    people: Int
    before: Float64
    after: Float64


@dataclass(frozen=True)
class DiagnosisTables:
    """Everything that is reported of a diagnosis. Shares and OKS are 0 to 1; changes are after minus before.

    The main figures leave out people below COCO's area limit of 32^2 square pixels.
    """

    diagnosis: Diagnosis

    @cached_property
    def counted(self) -> npt.NDArray[np.bool_]:
        """bool [N]: matched people of the main figures."""
        return (self.diagnosis.before.detection >= 0) & ~self.diagnosis.comparison.people.below_limit

    @cached_property
    def overall(self) -> Tally:
        """All joints of the main figures in one group."""
        return self._tally(np.where(self._large_enough, 0, -1)[:, None], ("all",))

    @cached_property
    def including_small(self) -> Tally:
        """All joints, also of people below the area limit."""
        return self._tally(np.zeros((len(self._large_enough), 1), np.int64), ("all",))

    @cached_property
    def by_joint(self) -> Tally:
        """One group per joint."""
        joints = self.diagnosis.comparison.keypoint_set.joints
        return self._tally(np.where(self._large_enough[:, None], np.arange(len(joints)), -1), joints)

    @cached_property
    def by_visible(self) -> Tally:
        """Groups by how many joints of the person are annotated."""
        return self._binned(self.diagnosis.comparison.people.labelled.sum(1), VISIBLE_BINS)

    @cached_property
    def by_overlap(self) -> Tally:
        """Groups by how many other people overlap the person."""
        return self._binned(box_overlaps(self.diagnosis.comparison.people), OVERLAP_BINS)

    @cached_property
    def by_size(self) -> Tally:
        """Groups by area; ``small`` is not part of the other figures."""
        sizes = _bin(self.diagnosis.comparison.people.area, SIZE_BINS)
        return self._tally(sizes[:, None], tuple(name for name, _ in SIZE_BINS))

    @cached_property
    def oks_bins(self) -> OksBins:
        """The paper's figure 7: what became of poses by how good they were."""
        before, after = self._oks
        bins = round(1 / OKS_BIN)
        number = np.minimum((before / OKS_BIN).astype(np.int64), bins - 1)
        people = np.bincount(number, minlength=bins)
        some = np.where(people > 0, people, np.nan)
        means = [np.asarray(np.bincount(number, oks, bins) / some, np.float64) for oks in (before, after)]
        return OksBins(np.asarray(np.arange(bins + 1) * OKS_BIN, np.float64), people, means[0], means[1])

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """``<class> before``, ``<class> after``, ``<class> change``, ``harm``, ``oks before``, ... over images."""
        tally, weights, image = self._by_image
        samples: dict[str, Float64] = {}
        for i, name in enumerate(ERROR_CLASSES):
            before = share(tally.before[:, i], tally.before.sum(1), weights)
            after = share(tally.after[:, i], tally.after.sum(1), weights)
            samples |= {f"{name} before": before, f"{name} after": after, f"{name} change": after - before}
        samples["harm"] = share(tally.harmed, tally.good_before, weights)
        people = np.bincount(image, minlength=len(tally.groups))
        oks = [share(np.bincount(image, side, len(tally.groups)), people, weights) for side in self._oks]
        samples |= {"oks before": oks[0], "oks after": oks[1], "oks change": oks[1] - oks[0]}
        return {name: interval(values) for name, values in samples.items()}

    @property
    def _large_enough(self) -> npt.NDArray[np.bool_]:
        return ~self.diagnosis.comparison.people.below_limit

    @cached_property
    def _both(self) -> npt.NDArray[np.bool_]:
        """bool [N]: people of the main figures with a pose on both sides."""
        return self.counted & (self.diagnosis.after.detection >= 0)

    @property
    def _oks(self) -> tuple[Float64, Float64]:
        return self.diagnosis.before.oks[self._both], self.diagnosis.after.oks[self._both]

    @property
    def _by_image(self) -> tuple[Tally, Float64, Int]:
        """Counts by image, bootstrap weights of the images, and the image of each person with both poses."""
        image, large = self.diagnosis.comparison.people.image, self._large_enough
        units, number = np.unique(image[large], return_inverse=True)
        group = np.full(len(image), -1)
        group[large] = number
        names = tuple(str(unit) for unit in units)
        return self._tally(group[:, None], names), resample_weights(len(units)), group[self._both]

    def _binned(self, values: npt.NDArray[np.int64], bins: tuple[tuple[str, float], ...]) -> Tally:
        group = np.where(self._large_enough, _bin(values, bins), -1)
        return self._tally(group[:, None], tuple(name for name, _ in bins))

    def _tally(self, group: Int, names: tuple[str, ...]) -> Tally:
        """Count joints by group number [N, 1 or K]; -1 leaves out."""
        before, after = self.diagnosis.before.codes, self.diagnosis.after.codes
        group = np.broadcast_to(group, before.shape)
        kinds, groups = len(ERROR_CLASSES), len(names)
        sides = []
        for codes in (before, after):
            kept = (group >= 0) & (codes != NONE)
            sides.append(np.bincount(group[kept] * kinds + codes[kept], minlength=groups * kinds).reshape(-1, kinds))
        both = (group >= 0) & (before != NONE) & (after != NONE)
        pairs = (group[both] * kinds + before[both]) * kinds + after[both]
        transitions = np.bincount(pairs, minlength=groups * kinds**2).reshape(-1, kinds, kinds)
        return Tally(names, sides[0], sides[1], transitions)


def _bin(values: npt.NDArray[Any], bins: tuple[tuple[str, float], ...]) -> Int:
    """Number of the first bin whose upper end, which belongs to it, is not below the value."""
    return np.searchsorted(np.array([end for _, end in bins]), values, side="left")


def _counted(counts: Int) -> dict[str, dict[str, Any]]:
    total = counts.sum()
    return {
        "counts": {name: int(n) for name, n in zip(ERROR_CLASSES, counts, strict=True)},
        "frequencies": {name: _ratio(n, total) for name, n in zip(ERROR_CLASSES, counts, strict=True)},
    }


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None

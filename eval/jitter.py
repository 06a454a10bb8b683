"""How restless poses are over time, without ground truth.

A smooth result is not a right one: read these numbers beside an accuracy. Three of them, per track and over all:

* acceleration, the mean of |x(t+1) - 2 x(t) + x(t-1)| over the joints present in three successive frames (the measure
  of SmoothNet, ECCV 2022), in pixels per frame^2 and as a share of the person's size;
* limb variation, the standard deviation of a limb's length over time divided by its mean (the picture of a limb changes
  its length with every turn, so only the difference between two files means something);
* flips, the frames in which exchanging a left joint and its right partner would shorten their way from the frame before
  by more than a tenth of the person's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.jitter_tracks import Track, paired_tracks
from posefix_track.errors import InputError
from posefix_track.formats import read_poses
from posefix_track.keypoints import KeypointSet

Float64 = npt.NDArray[np.float64]

# Share of the person's size that an exchange must save to be a flip: joints that lie upon each other are none.
_FLIP_MARGIN = 0.1


@dataclass(frozen=True)
class Jitter:
    """Measures of one track, or of several together.

    Attributes:
        frames: frames with the person.
        samples: joints whose acceleration was measured.
        acceleration: mean, pixels per frame^2; NaN without samples.
        acceleration_share: the same as a share of the person's size.
        limb_variation: mean over limbs of standard deviation / mean of the length; NaN without limbs.
        flips: frames with a left/right flip.
    """

    frames: int
    samples: int
    acceleration: float
    acceleration_share: float
    limb_variation: float
    flips: int


@dataclass(frozen=True)
class JitterComparison:
    """Two pose files side by side.

    Attributes:
        tracks: names of the tracks that both files have, the longest first.
        before: their measures in the first file.
        after: their measures in the second file.
        limbs: limb variation of each limb over all tracks, before and after.
        linking: how people were followed through time, in words.
    """

    tracks: tuple[str, ...]
    before: tuple[Jitter, ...]
    after: tuple[Jitter, ...]
    limbs: dict[str, tuple[float, float]]
    linking: str

    @property
    def overall(self) -> tuple[Jitter, Jitter]:
        """All tracks together, before and after."""
        return pooled(self.before), pooled(self.after)

    def to_dict(self, fps: float | None = None) -> dict[str, Any]:
        """For a JSON file; ``fps`` adds the acceleration in pixels per second^2."""
        rows = zip(self.tracks, self.before, self.after, strict=True)
        return {
            "linking": self.linking,
            "overall": _sides(*self.overall, fps),
            "limb_variation": {name: {"before": b, "after": a} for name, (b, a) in self.limbs.items()},
            "tracks": {name: _sides(before, after, fps) for name, before, after in rows},
        }

    def table(self, fps: float | None = None, most: int = 20) -> str:
        """Text: all tracks together, then the ``most`` longest ones."""
        header = f"{'track':<24}{'frames':>7}{'px/frame^2':>18}{'% of size':>18}{'limbs %':>18}{'flips':>18}"
        rows = [("all", *self.overall), *zip(self.tracks[:most], self.before, self.after, strict=False)]
        lines = [header, *(_row(name, before, after) for name, before, after in rows)]
        if fps:
            before, after = (side.acceleration * fps**2 for side in self.overall)
            lines.append(f"acceleration at {fps:g} frames/s: {before:.0f} -> {after:.0f} px/s^2")
        if len(self.tracks) > most:
            lines.append(f"{len(self.tracks) - most} shorter tracks are in the JSON output only")
        return "\n".join([*lines, f"note: {self.linking}"])


def compare_jitter(before: Path, after: Path) -> JitterComparison:
    """Measure two pose files of the same video, in any format that ``posefix_track.formats`` reads.

    Raises InputError where a file cannot be used, or the two have other keypoint sets or no track in common.
    """
    sequences = read_poses(before).sequences, read_poses(after).sequences
    joints = sequences[0][0].keypoint_set if sequences[0] else None
    if joints is None or {s.keypoint_set for side in sequences for s in side} != {joints}:
        raise InputError(f"{after}: its joints differ from those of {before}; compare two files of one keypoint set")
    tracks, linking = paired_tracks(*sequences)
    names = sorted((name for name in tracks[0] if name in tracks[1]), key=lambda name: -tracks[0][name].frames)
    if not names:
        raise InputError(f"{after}: none of its tracks is in {before}; give two files with the same track ids")
    measured = [tuple(measure(side[name], joints) for name in names) for side in tracks]
    limbs = _limbs([[side[name] for name in names] for side in tracks], joints)
    return JitterComparison(tuple(names), measured[0], measured[1], limbs, linking)


def measure(track: Track, keypoint_set: KeypointSet) -> Jitter:
    """The measures of one track; see the top of this file."""
    size = track.size
    bend = np.linalg.norm(np.diff(track.keypoints, n=2, axis=0), axis=-1)
    bend = bend[np.isfinite(bend)]
    acceleration = float(bend.mean()) if len(bend) else float("nan")
    limbs = limb_variation(track.keypoints, keypoint_set)
    variation = float(np.nanmean(limbs)) if np.isfinite(limbs).any() else float("nan")
    flips = flipped_frames(track.keypoints, keypoint_set, _FLIP_MARGIN * size)
    return Jitter(track.frames, len(bend), acceleration, acceleration / size, variation, int(flips.sum()))


def limb_variation(keypoints: Float64, keypoint_set: KeypointSet) -> Float64:
    """float64 [limbs]: standard deviation / mean of each limb's length in ``keypoints`` [T, K, 2] (NaN: absent).

    NaN for limbs seen in fewer than three frames or without length.
    """
    pairs = np.array(keypoint_set.limbs, np.int64).reshape(-1, 2)
    lengths = np.linalg.norm(keypoints[:, pairs[:, 0]] - keypoints[:, pairs[:, 1]], axis=-1)
    seen = np.isfinite(lengths)
    count = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, lengths, 0.0).sum(0) / count
    deviation = np.sqrt((np.where(seen, lengths - mean, 0.0) ** 2).sum(0) / count)
    usable = (seen.sum(0) >= 3) & (mean > 0)
    variation: Float64 = np.divide(deviation, mean, out=np.full(len(pairs), np.nan), where=usable)
    return variation


def flipped_frames(keypoints: Float64, keypoint_set: KeypointSet, margin: float) -> npt.NDArray[np.bool_]:
    """bool [T - 1]: exchanging some left/right pair of the later frame saves more than ``margin`` pixels of way."""
    pairs = np.array(keypoint_set.flip_pairs, np.int64).reshape(-1, 2)
    earlier, later = keypoints[:-1][:, pairs], keypoints[1:][:, pairs]
    way = np.linalg.norm(later - earlier, axis=-1).sum(-1)
    exchanged = np.linalg.norm(later[:, :, ::-1] - earlier, axis=-1).sum(-1)
    # NaN, a joint that is absent in either frame, compares false.
    return np.asarray((way - exchanged > margin).any(1))


def pooled(measures: Sequence[Jitter]) -> Jitter:
    """Several tracks together: means weighted by what was measured, flips added up."""
    samples, frames = sum(m.samples for m in measures), sum(m.frames for m in measures)
    sampled = [m for m in measures if m.samples]
    limbed = [m for m in measures if np.isfinite(m.limb_variation)]
    return Jitter(
        frames,
        samples,
        sum(m.acceleration * m.samples for m in sampled) / samples if samples else float("nan"),
        sum(m.acceleration_share * m.samples for m in sampled) / samples if samples else float("nan"),
        sum(m.limb_variation * m.frames for m in limbed) / sum(m.frames for m in limbed) if limbed else float("nan"),
        sum(m.flips for m in measures),
    )


def _limbs(sides: Sequence[Sequence[Track]], keypoint_set: KeypointSet) -> dict[str, tuple[float, float]]:
    """Variation of each limb on both sides, mean over tracks weighted by frames."""
    means = []
    for tracks in sides:
        values = np.array([limb_variation(track.keypoints, keypoint_set) for track in tracks])
        weights = np.array([[track.frames] for track in tracks]) * np.isfinite(values)
        total = weights.sum(0)
        top = (np.nan_to_num(values) * weights).sum(0)
        means.append(np.divide(top, total, out=np.full(len(total), np.nan), where=total > 0).tolist())
    names = [f"{keypoint_set.joints[a]} - {keypoint_set.joints[b]}" for a, b in keypoint_set.limbs]
    return {name: (before, after) for name, before, after in zip(names, *means, strict=True)}


def _sides(before: Jitter, after: Jitter, fps: float | None) -> dict[str, Any]:
    sides = {"before": dict(vars(before)), "after": dict(vars(after))}
    if fps:
        for side in sides.values():
            side["acceleration_px_per_second2"] = side["acceleration"] * fps**2
    return sides


def _row(name: str, before: Jitter, after: Jitter) -> str:
    cells = [
        _cell(before.acceleration, after.acceleration, 2),
        _cell(100 * before.acceleration_share, 100 * after.acceleration_share, 2),
        _cell(100 * before.limb_variation, 100 * after.limb_variation, 1),
        _cell(before.flips, after.flips, 0),
    ]
    return f"{name[:23]:<24}{before.frames:>7}" + "".join(cells)


def _cell(before: float, after: float, digits: int) -> str:
    left, right = ("-" if np.isnan(value) else f"{value:.{digits}f}" for value in (before, after))
    return f"{left:>8} ->{right:>7}"

"""What a run did: counts, movement, timings and warnings, collected in constant memory."""

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track import __version__
from posefix_track.latency import Latencies
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refiner import RefinedPoses

# Shifts are counted in bins of this width (pixels), so that an hour of video needs no more memory than a second.
_BIN_PX = 0.05
_BINS = 20_000
_NAMED = 20
# Why poses pass through that nobody asked to have refined.
OUTSIDE_RANGE = "outside --frames"


@dataclass
class Report:
    """Counts of one run.

    Attributes:
        frames: pictures looked at; frames_with_poses: of them, those that poses belong to; frames_resumed: of them,
            those that an interrupted run had done.
        people, joints: in the input, joints counting only present ones; joints_moved: by the network; joints_dropped:
            for want of expected similarity, where asked for.
        people_passed_through: written as they came, by reason; people_dropped: by OKS suppression, where asked for.
        mean_expected_similarity: that the network expects between the written joints and the truth, over all that it
            has judged; None where it has judged none. Poses of another video have far less of it.
        missing: what could not be refined for want of a picture, named, the first twenty.
        notes: what went on without changing what was done.
        people_per_call: people that one engine call takes at most, at the end of the run.
        seconds: time by stage; "decode" and "crop" overlap with "engine", "overlay" is what the run waited for it.
        frame_latency: of frames with people to look at, from the moment that the picture is decoded until its refined
            poses are there: the crops, waiting for its turn and for the other frames of its batch, the engine. Pictures
            are decoded as fast as they are taken, up to ``Options.max_latency`` ahead, so this is the latency of a
            stream at full load; at the pace of a slower camera a frame does not wait for its turn.
        batch_latency: of batches, from the moment that their people are handed to the engine until the refined poses
            are there; with an engine that works in the background, the rest of the batch before is part of it.

    What took time is that of this run alone, also where ``frames_resumed`` were done by another.
    """

    frames: int = 0
    frames_with_poses: int = 0
    frames_resumed: int = 0
    people: int = 0
    joints: int = 0
    joints_moved: int = 0
    joints_dropped: int = 0
    people_passed_through: dict[str, int] = field(default_factory=dict)
    people_dropped: int = 0
    missing_frames: int = 0
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    people_per_call: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    frame_latency: Latencies = field(default_factory=Latencies)
    batch_latency: Latencies = field(default_factory=Latencies)
    _shifts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64), repr=False)
    _shift_sum: float = 0.0
    _similarity_sum: float = 0.0
    _judged: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def add_people(self, poses: FramePoses, result: RefinedPoses) -> None:
        """Count the people of one frame before and after."""
        self.frames_with_poses += 1
        self.people += len(poses)
        self.joints += int(poses.present.sum())
        self.joints_moved += int(result.refined.sum())
        self._pass_through("outside the picture or without a joint that the network knows", (~result.considered).sum())
        shifts = result.shift[result.refined]
        self._shift_sum += float(shifts.sum())
        np.add.at(self._shifts, np.minimum((shifts / _BIN_PX).astype(int), _BINS - 1), 1)
        judged = result.expected_ks[result.judged(poses.present)]
        self._similarity_sum += float(judged.sum())
        self._judged += len(judged)

    def add_untouched(self, poses: FramePoses, reason: str) -> None:
        """Count the people of a frame that was not looked at."""
        self.people += len(poses)
        self.joints += int(poses.present.sum())
        self._pass_through(reason, len(poses))

    def add_unmatched(self, sequence: PoseSequence, unmatched: Mapping[int, str]) -> None:
        """Count poses without a picture."""
        for position, reason in unmatched.items():
            self.missing_frames += 1
            self.add_untouched(sequence.frames[position], "no picture")
            if len(self.missing) < _NAMED:
                self.missing.append(reason)

    def add_calls(self, wanted: int, taken: int) -> None:
        """Note how many people an engine call was to take, and took in the end."""
        self.people_per_call = taken
        if taken < wanted:
            self.notes.append(f"the GPU's memory does not take {wanted} people in a call; it got {taken}")

    def warn(self, warning: str) -> None:
        """Add a warning once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    @property
    def mean_shift_px(self) -> float:
        """Mean distance that moved joints went, pixels; 0 where none moved."""
        return self._shift_sum / max(int(self._shifts.sum()), 1)

    @property
    def mean_expected_similarity(self) -> float | None:
        """Of the joints that the network has judged."""
        return self._similarity_sum / self._judged if self._judged else None

    def shift_percentile_px(self, percent: float) -> float:
        """Percentile of the distance that moved joints went, to 0.05 pixels."""
        total = int(self._shifts.sum())
        if total == 0:
            return 0.0
        return float((np.searchsorted(self._shifts.cumsum(), percent / 100 * total) + 1) * _BIN_PX)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        similarity = self.mean_expected_similarity
        names = (
            "frames",
            "frames_with_poses",
            "frames_resumed",
            "people",
            "joints",
            "joints_moved",
            "joints_dropped",
            "people_passed_through",
            "people_dropped",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "mean_shift_px": round(self.mean_shift_px, 3),
            "p95_shift_px": round(self.shift_percentile_px(95), 2),
            "mean_expected_similarity": None if similarity is None else round(similarity, 3),
            "missing_frames": self.missing_frames,
            "missing": self.missing,
            "warnings": self.warnings,
            "notes": self.notes,
            "people_per_call": self.people_per_call,
            "latency_ms": {"frame": self.frame_latency.to_dict(), "batch": self.batch_latency.to_dict()},
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }

    def _pass_through(self, reason: str, people: int) -> None:
        if people:
            self.people_passed_through[reason] = self.people_passed_through.get(reason, 0) + int(people)


def versions() -> dict[str, str | None]:
    """Of this package, Python, and what the numbers depend on; None for what is not installed."""
    names = ("torch", "openvino", "numpy", "opencv-python-headless", "av")
    own = {"posefix_track": __version__, "python": platform.python_version()}
    return {**own, **{name: _installed(name) for name in names}}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

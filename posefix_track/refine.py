"""The main path: pictures, the poses a tracker found on them, a refiner -> the same poses, better."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from posefix_track.background import in_background
from posefix_track.batching import in_batches
from posefix_track.errors import InputError
from posefix_track.frames import Frame, FrameSource
from posefix_track.pairing import Pair, Pairing
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refiner import PoseRefiner, Prepared, RefinedPoses
from posefix_track.report import Report

# Frames whose people may wait for each other to fill a batch; bounds the memory that pictures take.
MAX_LATENCY = 8
# Poses without a picture beyond this share mean the wrong video, not a damaged one.
MAX_MISSING = 0.05


@dataclass(frozen=True)
class Options:
    """What to do besides moving joints.

    Attributes:
        frames: first and last frame to refine, 0-based and inclusive; others pass through. None for all.
        scores: "keep" the tracker's joint scores, or write the "refined" joints' expected keypoint similarity.
        max_missing: share of frames with poses that may lack their picture before the run is refused.
        max_latency: frames whose people may wait for each other.
    """

    frames: tuple[int, int] | None = None
    scores: str = "keep"
    max_missing: float = MAX_MISSING
    max_latency: int = MAX_LATENCY

    def wants(self, frame: Frame) -> bool:
        """Whether the frame is among those to refine."""
        return self.frames is None or self.frames[0] <= frame.index <= self.frames[1]


@dataclass(frozen=True)
class RefinedFrame:
    """A frame and its people before and after refinement; one FramePoses for each entry of the pose file."""

    frame: Frame
    before: tuple[FramePoses, ...]
    after: tuple[FramePoses, ...]


@dataclass(frozen=True)
class _Work:
    """A decoded frame with its people's crops, one Prepared for each entry of the pose file."""

    frame: Frame
    positions: tuple[int, ...]
    prepared: tuple[Prepared, ...]

    def people(self) -> int:
        """People to look at."""
        return sum(len(prepared.rows) for prepared in self.prepared)


def refine_sequence(
    source: FrameSource,
    sequence: PoseSequence,
    refiner: PoseRefiner,
    report: Report,
    options: Options | None = None,
    watch: Callable[[RefinedFrame], None] | None = None,
    advance: Callable[[], None] | None = None,
) -> PoseSequence:
    """Refine one sequence. Decoding and cropping run in a thread of their own, a few frames ahead of the engine.

    Args:
        source: the pictures; read once, in order.
        sequence: the tracker's poses.
        refiner: made for the sequence's keypoint set.
        report: counts and timings are added to it.
        options: see Options.
        watch: called with every frame in order, for overlays; frames without poses are then read too.
        advance: called now and then, for progress.

    Returns:
        the same sequence with other coordinates. People that could not be refined are as they were, and counted.

    Raises:
        InputError: more of the poses' pictures are missing than ``options.max_missing``.
    """
    options = options or Options()
    pairing = Pairing(source, sequence, every_frame=watch is not None)
    _check_coverage(pairing.surely_missing(), sequence, options, source)
    after = list(sequence.frames)
    works = _prepared(pairing, sequence, refiner, report, options)
    with in_background(works, options.max_latency) as ahead:
        for group in in_batches(ahead, _Work.people, refiner.people_per_call, options.max_latency):
            with report.timed("engine"):
                results = iter([*refiner.run([p for work in group for p in work.prepared])])
            for work in group:
                for position, result in zip(work.positions, results, strict=False):
                    after[position] = _refined(sequence.frames[position], result, options, report)
                if watch is not None:
                    watch(_watched(work, sequence, after))
            if advance is not None:
                advance()
    _count_the_rest(sequence, after, pairing, report)
    if source.damage:
        report.warn(f"{source.path}: {source.damage}")
    return replace(sequence, frames=tuple(after))


def _prepared(
    pairing: Iterable[Pair], sequence: PoseSequence, refiner: PoseRefiner, report: Report, options: Options
) -> Iterator[_Work]:
    """Decode and crop; runs in the background thread."""
    pairs = iter(pairing)
    while True:
        with report.timed("decode"):
            pair = next(pairs, None)
        if pair is None or (options.frames and pair.frame.index > options.frames[1]):
            return
        if not options.wants(pair.frame):
            continue
        report.frames += 1
        with report.timed("crop"):
            frames = (sequence.frames[position] for position in pair.positions)
            prepared = tuple(refiner.prepare(pair.frame.image, f.keypoints, f.scores) for f in frames)
        yield _Work(pair.frame, pair.positions, prepared)


def _refined(before: FramePoses, result: RefinedPoses, options: Options, report: Report) -> FramePoses:
    report.add_people(before, result)
    scores = before.scores
    if options.scores == "refined" and scores is not None:
        known = np.isfinite(result.expected_ks) & (before.present | result.refined)
        scores = np.where(known, result.expected_ks, scores).astype(np.float32)
    return before.with_keypoints(result.keypoints, scores)


def _watched(work: _Work, sequence: PoseSequence, after: list[FramePoses]) -> RefinedFrame:
    before = tuple(sequence.frames[position] for position in work.positions)
    return RefinedFrame(work.frame, before, tuple(after[position] for position in work.positions))


def _count_the_rest(sequence: PoseSequence, after: list[FramePoses], pairing: Pairing, report: Report) -> None:
    report.add_unmatched(sequence, pairing.unmatched)
    for position, (before, now) in enumerate(zip(sequence.frames, after, strict=True)):
        if before is now and position not in pairing.unmatched:
            report.add_untouched(before, "outside --frames")


def _check_coverage(missing: int, sequence: PoseSequence, options: Options, source: FrameSource) -> None:
    frames = sum(len(poses) > 0 for poses in sequence.frames)
    if missing > options.max_missing * frames:
        raise InputError(
            f"{missing} of {frames} frames with poses are not in {source.path}; check that pictures and"
            " poses belong together, or let them pass with --max-missing 1"
        )

"""The main path: pictures, the poses a tracker found on them, a refiner -> the same poses, better."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from posefix_track.background import StalledError, in_background
from posefix_track.batching import in_batches
from posefix_track.errors import InputError, ResourceError
from posefix_track.frames import Frame, FrameSource
from posefix_track.pairing import Pair, Pairing, people_outside
from posefix_track.poses import Bool, Float, FramePoses, PoseSequence
from posefix_track.refiner import PoseRefiner, Prepared, RefinedPoses
from posefix_track.report import OUTSIDE_RANGE, Report

# Frames whose people may wait for each other to fill a batch; bounds the memory that pictures take.
MAX_LATENCY = 8
# Poses without a picture beyond this share mean the wrong video, not a damaged one.
MAX_MISSING = 0.05
# A decoder that gives no picture for this long hangs; pictures that are only passed over get their share.
_PATIENCE_SECONDS = 30.0
_SKIPPED_PER_SECOND = 5


@dataclass(frozen=True)
class Options:
    """What to do besides moving joints.

    Attributes:
        frames: first and last frame to refine, 0-based and inclusive; others pass through. None for all.
        scores: "keep" the tracker's scores, or write those of the "refined" joints: a joint's score is then its
            expected keypoint similarity, and a person's is the tracker's times the mean of that over the joints that
            the network has judged. Where there are none, or the person's score is not above 0, it stays.
        drop_below: joints whose expected keypoint similarity is below this become absent; None keeps all.
        max_missing: share of frames with poses that may lack their picture before the run is refused.
        max_latency: frames whose people may wait for each other.
        first_frame: number of the first frame in poses that number frames; 0 where they do as their format does.
    """

    frames: tuple[int, int] | None = None
    scores: str = "keep"
    drop_below: float | None = None
    max_missing: float = MAX_MISSING
    max_latency: int = MAX_LATENCY
    first_frame: int = 0

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
class Done:
    """What an earlier run has done of a sequence.

    Attributes:
        frames: number of pictures; next_index: index of the first frame after them.
        positions: of the poses in the sequence.
    """

    frames: int = 0
    next_index: int = 0
    positions: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Step:
    """One frame that is done.

    Attributes:
        frame: the picture.
        positions: of its poses in the sequence: one FramePoses for each entry of the pose file.
        results: one for each position; None where an earlier run has them.
    """

    frame: Frame
    positions: tuple[int, ...]
    results: tuple[RefinedPoses, ...] | None

    def pairs(self) -> Iterator[tuple[int, RefinedPoses]]:
        """(position, result) of all that is new."""
        return zip(self.positions, self.results or (), strict=self.results is not None)


@dataclass(frozen=True)
class _Work:
    """A decoded frame with its people's crops, one Prepared for each entry of the pose file; ``decoded`` says when."""

    frame: Frame
    positions: tuple[int, ...]
    prepared: tuple[Prepared, ...]
    decoded: float

    def people(self) -> int:
        """People to look at."""
        return sum(len(prepared.rows) for prepared in self.prepared)


def refine_sequence(
    source: FrameSource,
    sequence: PoseSequence,
    refiner: PoseRefiner,
    report: Report,
    options: Options | None = None,
    advance: Callable[[], None] | None = None,
) -> PoseSequence:
    """Refine one sequence in memory.

    Args:
        source, sequence, refiner, report, options: see ``refined_groups``.
        advance: called now and then, for progress.

    Returns:
        the same sequence with other coordinates. People that could not be refined are as they were, and counted.
    """
    options, after = options or Options(), list(sequence.frames)
    for group in refined_groups(source, sequence, refiner, report, options):
        for step in group:
            for position, result in step.pairs():
                after[position] = finished(sequence.frames[position], result, options)
        if advance is not None:
            advance()
    return replace(sequence, frames=tuple(after))


def refined_groups(
    source: FrameSource,
    sequence: PoseSequence,
    refiner: PoseRefiner,
    report: Report,
    options: Options,
    every_frame: bool = False,
    done: Done | None = None,
) -> Generator[list[Step], None, None]:
    """Refine one sequence: groups of frames that went through the engine together, in order.

    Decoding and cropping run in a thread of their own, a few frames ahead of the engine, which computes one group while
    the one before it is finished and written.

    Args:
        source: the pictures; read once, in order.
        sequence: the tracker's poses.
        refiner: made for the sequence's keypoint set.
        report: counts and timings are added to it.
        options: see Options.
        every_frame: also give frames without poses, and those that are done.
        done: what an earlier run has done, which ended with a whole group.

    Raises:
        InputError: more of the poses' pictures are missing than ``options.max_missing``.
        ResourceError: the decoder hangs.
    """
    done = done or Done()
    first = options.frames[0] if options.frames else 0
    found, start = ((), 0) if every_frame else (done.positions, done.next_index)
    pairing = Pairing(source, sequence, every_frame, first, start, found, options.first_frame)
    _check_coverage(pairing, sequence, options, source)
    if doubt := people_outside(source, sequence):
        report.warn(doubt)
    handled = np.zeros(len(sequence.frames), bool)
    handled[[*done.positions]] = True
    works = _prepared(pairing, sequence, refiner, report, options, done.frames if every_frame else 0)
    patience = _PATIENCE_SECONDS + max(first, start) / _SKIPPED_PER_SECOND
    calls, begun = refiner.people_per_call, deque[float]()

    def prepared(group: list[_Work]) -> list[Prepared]:
        begun.append(time.perf_counter())
        return [prepared for work in group for prepared in work.prepared]

    try:
        with in_background(works, options.max_latency, patience) as ahead:
            if every_frame:
                yield from ([Step(work.frame, work.positions, None)] for work in islice(ahead, done.frames))
            groups = in_batches(ahead, _Work.people, refiner.people_per_call, options.max_latency)
            for group, found_poses in refiner.in_flight(groups, prepared, clock=lambda: report.timed("engine")):
                _add_latencies(report, group, begun.popleft())
                results = iter(found_poses)
                steps = [Step(w.frame, w.positions, tuple(islice(results, len(w.positions)))) for w in group]
                for position, result in (pair for step in steps for pair in step.pairs()):
                    handled[position] = True
                    count_result(sequence.frames[position], result, options, report)
                yield steps
    except StalledError:
        raise ResourceError(
            f"{source.path} has given no picture for {patience:.0f} seconds; check the file and its disk"
        ) from None
    _count_the_rest(sequence, handled, pairing, report)
    report.add_calls(calls, refiner.people_per_call)
    if source.damage:
        report.warn(f"{source.path}: {source.damage}")


def _add_latencies(report: Report, group: list[_Work], begun: float) -> None:
    now = time.perf_counter()
    looked_at = [work for work in group if work.people()]
    if looked_at:
        report.batch_latency.add(now - begun)
    for work in looked_at:
        report.frame_latency.add(now - work.decoded)


def _prepared(
    pairing: Iterable[Pair],
    sequence: PoseSequence,
    refiner: PoseRefiner,
    report: Report,
    options: Options,
    already_done: int,
) -> Iterator[_Work]:
    """Decode and crop; runs in the background thread. The first ``already_done`` frames are only decoded."""
    pairs = iter(pairing)
    while True:
        with report.timed("decode"):
            pair = next(pairs, None)
        decoded = time.perf_counter()
        if pair is None or (options.frames and pair.frame.index > options.frames[1]):
            return
        if not options.wants(pair.frame):
            continue
        if already_done:
            already_done -= 1
            yield _Work(pair.frame, pair.positions, (), decoded)
            continue
        report.frames += 1
        with report.timed("crop"):
            frames = (sequence.frames[position] for position in pair.positions)
            prepared = tuple(refiner.prepare(pair.frame.image, f.keypoints, f.scores) for f in frames)
        yield _Work(pair.frame, pair.positions, prepared, decoded)


def finished(before: FramePoses, result: RefinedPoses, options: Options) -> FramePoses:
    """The poses to write: refined coordinates, with the scores and without the joints that ``options`` say."""
    keypoints, scores, person_scores = result.keypoints, before.scores, before.person_scores
    if options.scores == "refined":
        judged = result.judged(before.present)
        scores = None if scores is None else np.where(judged, result.expected_ks, scores).astype(np.float32)
        person_scores = None if person_scores is None else _lessened(person_scores, result.expected_ks, judged)
    if options.drop_below is not None:
        doubtful = _doubtful(before, result, options.drop_below)
        keypoints = np.where(doubtful[..., None], np.float32(0), keypoints)
        scores = None if scores is None else np.where(doubtful, np.float32(0), scores)
    return before.with_keypoints(keypoints, scores, person_scores)


def count_result(before: FramePoses, result: RefinedPoses, options: Options, report: Report) -> None:
    """Add the people of one FramePoses to the report."""
    report.add_people(before, result)
    if options.drop_below is not None:
        report.joints_dropped += int(_doubtful(before, result, options.drop_below).sum())


def _lessened(scores: Float, expected_ks: Float, judged: Bool) -> Float:
    """float32 [N]: ``scores`` times the mean of ``expected_ks`` [N, K] over the joints that are ``judged`` [N, K]."""
    mean = np.where(judged, expected_ks, 0).sum(1, dtype=np.float64) / np.maximum(judged.sum(1), 1)
    # A share of a negative score, such as a logit, would be more than the score.
    known = judged.any(1) & (scores > 0) & np.isfinite(scores)
    return np.asarray(scores * np.where(known, mean, 1), np.float32)


def _doubtful(before: FramePoses, result: RefinedPoses, least: float) -> Bool:
    """bool [N, K]: joints to be left out. What the network does not know or has not seen stays."""
    return np.asarray(result.judged(before.present) & (result.expected_ks < least))


def _count_the_rest(sequence: PoseSequence, handled: Bool, pairing: Pairing, report: Report) -> None:
    report.add_unmatched(sequence, pairing.unmatched)
    for position, before in enumerate(sequence.frames):
        if not handled[position] and position not in pairing.unmatched:
            report.add_untouched(before, OUTSIDE_RANGE)


def _check_coverage(pairing: Pairing, sequence: PoseSequence, options: Options, source: FrameSource) -> None:
    missing, frames = pairing.surely_missing(), sum(len(poses) > 0 for poses in sequence.frames)
    if len(missing) > options.max_missing * frames or (pairing.starts_early() and options.max_missing < 1):
        raise InputError(
            f"{len(missing)} of {frames} frames with poses are not in {source.path}, such as {missing[0]}; check that"
            " pictures and poses belong together, or let them pass with --max-missing 1"
        )

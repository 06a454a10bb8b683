"""One run on files: opens what it needs, refines every sequence, writes the poses and the overlay."""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from posefix_track.errors import IncompleteError, InputError, ResourceError, UsageError
from posefix_track.formats import PoseFile, read_poses
from posefix_track.formats.atomic import write_file
from posefix_track.frames import FrameSource
from posefix_track.journal import Journal
from posefix_track.output_paths import check_free_space, output_paths, refuse_existing
from posefix_track.overlay import OverlayVideo
from posefix_track.poses import FramePoses
from posefix_track.refine import Done, Options, RefinedFrame, Step, count_result, finished, refined_groups
from posefix_track.refiner import PoseRefiner
from posefix_track.report import Report, versions
from posefix_track.run_identity import run_identity
from posefix_track.suppression import check_suppressible, without_repeated_poses
from posefix_track.video import open_source

Progress = Callable[[Report, int | None], None]


@dataclass(frozen=True)
class Job:
    """What to do with which files; None takes the default.

    Attributes:
        source: video or image folder; poses: pose file or folder.
        output: where refined poses go; a folder that exists takes a pose file under its own name.
        overwrite: replace what stands there, and forget an interrupted run.
        resume: go on with an interrupted run of the same job, if there is one.
        save_video: overlay video; an empty path stands for the default name beside the output, None for no video.
        oks_nms: OKS above which the lower-scored of two poses of a picture is dropped.
        timeout_seconds: stop after this time, with what is done kept for ``resume``.
        refiner: arguments of PoseRefiner besides ``keypoints``.
    """

    source: Path
    poses: Path
    output: Path | None = None
    overwrite: bool = False
    resume: bool = False
    format: str | None = None
    keypoints: str | None = None
    annotations: Path | None = None
    save_video: Path | None = None
    compare: bool = False
    oks_nms: float | None = None
    timeout_seconds: float | None = None
    options: Options = field(default_factory=Options)
    refiner: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a job wrote and what happened."""

    job: Job
    output: Path
    report_path: Path
    video: Path | None
    poses_sha256: str
    format: str
    engine: str
    weights_sha256: str
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the report file."""
        refiner = {name: _plain(value) for name, value in self.job.refiner.items()}
        return {
            "versions": versions(),
            "source": str(self.job.source),
            "poses": str(self.job.poses),
            "poses_sha256": self.poses_sha256,
            "output": str(self.output),
            "video": str(self.video) if self.video else None,
            "format": self.format,
            "engine": self.engine,
            "refiner": refiner,
            "weights_sha256": self.weights_sha256,
            **self.report.to_dict(),
        }


@dataclass(frozen=True)
class _Run:
    """What one run works with."""

    job: Job
    start: float
    source: FrameSource
    pose_file: PoseFile
    refiner: PoseRefiner
    journal: Journal
    report: Report
    overlay: OverlayVideo | None
    progress: Progress | None


def run_job(job: Job, progress: Progress | None = None) -> Outcome:
    """Refine a pose file. Either everything asked for is written, or an error is raised and no output is.

    What is done is kept in a journal beside the output until then, and the error says so in a note.

    Raises:
        UsageError: an existing output without ``overwrite``, an interrupted run without ``resume``, another run on the
            same output, or options that do not fit the input.
        InputError: unusable video, poses or weights.
        IncompleteError: the time is up.
        ResourceError: no such engine or device, a decoder that hangs, or the disk does not take the output.
    """
    start, report = time.perf_counter(), Report()
    paths = output_paths(job.source, job.poses, job.output, job.save_video)
    with Journal(paths.output, job.resume, job.overwrite) as journal:
        refuse_existing(paths, job.poses, job.overwrite or journal.goes_on)
        with ExitStack() as stack:
            source = stack.enter_context(open_source(job.source))
            with report.timed("read poses"):
                pose_file = _read(job, source)
            pose_file.check_output(paths.output)
            refiner = _refiner(job, pose_file, report)
            journal.begin(_identity(job, pose_file, source, refiner), pose_file.sequences)
            check_free_space(paths.output, pose_file, journal.path)
            paths.remove_leftovers()
            video = stack.enter_context(OverlayVideo(paths.video, source, job.compare)) if paths.video else None
            run = _Run(job, start, source, pose_file, refiner, journal, report, video, progress)
            _count_resumed(run)
            for sequence in range(len(pose_file.sequences)):
                _refine(run, sequence)
            if video is not None:
                with report.timed("overlay"):
                    video.catch_up()
            with report.timed("write"):
                _write(run, paths.output)
        report.seconds["total"] = time.perf_counter() - start
        outcome = Outcome(job, paths.output, paths.report, paths.video, pose_file.sha256, pose_file.format,
                          refiner.engine_name, refiner.loaded.sha256, report)  # fmt: skip
        _write_report(outcome)
        journal.remove()
    return outcome


def _identity(job: Job, pose_file: PoseFile, source: FrameSource, refiner: PoseRefiner) -> dict[str, str]:
    # With an overlay also frames without poses are read, so that other frames share a batch.
    settings = {**vars(job.options), "oks nms": job.oks_nms, "overlay": job.save_video is not None}
    return run_identity(pose_file, source, refiner, settings)


def _read(job: Job, source: FrameSource) -> PoseFile:
    pose_file = read_poses(
        job.poses,
        format=job.format,
        keypoints=job.keypoints,
        annotations=job.annotations,
        frame_size=(source.height, source.width),
    )
    if len(pose_file.sequences) > 1 and source.kind == "video":
        raise InputError(
            f"{job.poses} holds {len(pose_file.sequences)} sequences, but {job.source} is one video;"
            " give the folder that their images lie in"
        )
    if not pose_file.sequences:
        raise InputError(f"{job.poses} holds no frames")
    _check_options(job, pose_file)
    return pose_file


def _check_options(job: Job, pose_file: PoseFile) -> None:
    if job.oks_nms is not None:
        check_suppressible(pose_file)
    if job.options.scores == "refined" and not _has_scores(pose_file):
        raise UsageError(f"{job.poses} has no scores to replace; leave out --scores refined")
    if job.options.drop_below is not None and not pose_file.can_drop_joints:
        raise UsageError(
            f"{job.poses}: {pose_file.format} lists only joints that are there, so none can be dropped in its place;"
            " convert the file first (posefix-track convert --to posetrack18)"
        )


def _has_scores(pose_file: PoseFile) -> bool:
    frames = (frame for sequence in pose_file.sequences for frame in sequence.frames)
    return any(frame.scores is not None or frame.person_scores is not None for frame in frames)


def _refiner(job: Job, pose_file: PoseFile, report: Report) -> PoseRefiner:
    with report.timed("compile"):
        refiner = PoseRefiner(keypoints=pose_file.sequences[0].keypoint_set, **job.refiner)
    needs = [name for name, asked in (("--scores refined", job.options.scores == "refined"),
                                      ("--drop-below", job.options.drop_below is not None)) if asked]  # fmt: skip
    if needs and not refiner.config.confidence:
        raise UsageError(f"these weights say nothing about keypoint similarity; leave out {' and '.join(needs)}")
    return refiner


def _count_resumed(run: _Run) -> None:
    """Report what an earlier run has done as if this one had."""
    run.report.frames = run.report.frames_resumed = sum(run.journal.frames)
    for number, sequence in enumerate(run.pose_file.sequences):
        for position in run.journal.done(number):
            result = run.journal.result(number, position)
            if result is not None:
                count_result(sequence.frames[position], result, run.job.options, run.report)


def _refine(run: _Run, number: int) -> None:
    """Refine one sequence into the journal; the overlay shows all of its frames."""
    sequence, journal, drawn = run.pose_file.sequences[number], run.journal, run.overlay is not None
    done = Done(journal.frames[number], journal.next_index[number], frozenset(journal.done(number)))
    groups = refined_groups(run.source, sequence, run.refiner, run.report, run.job.options, drawn, done)
    total = run.source.frame_count_hint if drawn else len(sequence.frames)
    with closing(groups):
        for group in groups:
            fresh = [step for step in group if step.results is not None]
            if fresh:
                results = [pair for step in fresh for pair in step.pairs()]
                journal.add(number, len(fresh), fresh[-1].frame.index + 1, results)
            for step in group:
                _watch(run, number, step)
            if run.progress is not None:
                run.progress(run.report, total)
            _check_time(run)


def _check_time(run: _Run) -> None:
    limit = run.job.timeout_seconds
    if limit is not None and time.perf_counter() > run.start + limit:
        raise IncompleteError(f"stopped after {limit:g} seconds, as --timeout says")


def _watch(run: _Run, number: int, step: Step) -> None:
    if run.overlay is None:
        return
    frames = run.pose_file.sequences[number].frames
    before = tuple(frames[position] for position in step.positions)
    after = tuple(_refined_frame(run, number, position) for position in step.positions)
    with run.report.timed("overlay"):
        run.overlay.write(RefinedFrame(step.frame, before, after), run.pose_file.sequences[number].keypoint_set)


def _refined_frame(run: _Run, number: int, position: int) -> FramePoses:
    before = run.pose_file.sequences[number].frames[position]
    result = run.journal.result(number, position)
    return before if result is None else finished(before, result, run.job.options)


def _write(run: _Run, output: Path) -> None:
    threshold = run.job.oks_nms

    def suppress(data: bytes) -> bytes:
        data, dropped = without_repeated_poses(data, run.pose_file.sequences[0].keypoint_set, threshold or 0.0)
        run.report.people_dropped += dropped
        return data

    edit = None if threshold is None else suppress
    run.pose_file.write_frames(output, lambda number, position: _refined_frame(run, number, position), edit)


def _plain(value: object) -> object:
    """What a report says about an argument: itself where JSON can, else what kind of thing it is."""
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value) if isinstance(value, Path) else type(value).__name__


def _write_report(outcome: Outcome) -> None:
    try:
        write_file(outcome.report_path, orjson.dumps(outcome.to_dict(), option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise ResourceError(f"cannot write {outcome.report_path}: {error.strerror or error}") from error

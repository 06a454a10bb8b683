"""One run on files: opens what it needs, refines every sequence, writes the poses and the overlay."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posefix_track.errors import InputError, UsageError
from posefix_track.formats import PoseFile, read_poses
from posefix_track.frames import FrameSource
from posefix_track.overlay import OverlayVideo
from posefix_track.poses import PoseSequence
from posefix_track.refine import Options, refine_sequence
from posefix_track.refiner import PoseRefiner
from posefix_track.report import Report
from posefix_track.suppression import check_suppressible, drop_repeated_poses
from posefix_track.video import open_source

Progress = Callable[[Report, int | None], None]


@dataclass(frozen=True)
class Job:
    """What to do with which files; None takes the default.

    Attributes:
        source: video or image folder; poses: pose file or folder.
        output: where refined poses go; a folder that exists takes a pose file under its own name.
        save_video: overlay video; an empty path stands for the default name beside the output, None for no video.
        oks_nms: OKS above which the lower-scored of two poses of a picture is dropped.
        refiner: arguments of PoseRefiner besides ``keypoints``.
    """

    source: Path
    poses: Path
    output: Path | None = None
    overwrite: bool = False
    format: str | None = None
    keypoints: str | None = None
    annotations: Path | None = None
    save_video: Path | None = None
    compare: bool = False
    oks_nms: float | None = None
    options: Options = field(default_factory=Options)
    refiner: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a job wrote and what happened."""

    job: Job
    output: Path
    report_path: Path
    video: Path | None
    format: str
    engine: str
    weights_sha256: str
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the report file."""
        refiner = {name: str(v) if isinstance(v, Path) else v for name, v in self.job.refiner.items()}
        return {
            "source": str(self.job.source),
            "poses": str(self.job.poses),
            "output": str(self.output),
            "video": str(self.video) if self.video else None,
            "format": self.format,
            "engine": self.engine,
            "refiner": refiner,
            "weights_sha256": self.weights_sha256,
            **self.report.to_dict(),
        }


def run_job(job: Job, progress: Progress | None = None) -> Outcome:
    """Refine a pose file. Either everything asked for is written, or an error is raised and nothing is.

    Raises:
        UsageError: an existing output without ``overwrite``, or options that do not fit the input.
        InputError: unusable video, poses or weights.
        ResourceError: no such engine or device, or the disk does not take the output.
    """
    start = time.perf_counter()
    output = _output_path(job)
    report_path = output.with_name(output.name + ".report.json")
    video = _video_path(job, output)
    _refuse_existing(job, [output, *([video] if video else [])])
    report = Report()
    with ExitStack() as stack:
        source = stack.enter_context(open_source(job.source))
        with report.timed("read poses"):
            pose_file = _read(job, source)
        refiner = _refiner(job, pose_file, report)
        overlay = stack.enter_context(OverlayVideo(video, source, job.compare)) if video else None
        refined = [
            _refine(source, sequence, refiner, report, job.options, overlay, progress)
            for sequence in pose_file.sequences
        ]
        with report.timed("write"):
            output.parent.mkdir(parents=True, exist_ok=True)
            pose_file.write(output, refined)
            if job.oks_nms is not None:
                report.people_dropped = drop_repeated_poses(pose_file, output, job.oks_nms)
    report.seconds["total"] = time.perf_counter() - start
    return Outcome(
        job, output, report_path, video, pose_file.format, refiner.engine_name, refiner.loaded.sha256, report
    )


def _output_path(job: Job) -> Path:
    if job.output is None:
        poses = job.poses
        return poses.with_name(poses.stem + ".refined" + poses.suffix)
    into_folder = job.output.is_dir() and job.poses.is_file()
    return job.output / job.poses.name if into_folder else job.output


def _video_path(job: Job, output: Path) -> Path | None:
    if job.save_video is None:
        return None
    default = output.with_name(job.source.stem + ".refined.mp4")
    return default if job.save_video == Path() else job.save_video


def _refuse_existing(job: Job, outputs: list[Path]) -> None:
    inputs = {job.source.resolve(), job.poses.resolve()}
    for path in outputs:
        if path.resolve() in inputs:
            raise UsageError(f"{path} is an input of this run; choose another output")
        if path.exists() and not job.overwrite and not (path.is_dir() and not _holds_any(path, job.poses)):
            raise UsageError(f"{path} already exists; choose another output or add --overwrite")


def _holds_any(folder: Path, poses: Path) -> bool:
    """Whether a file of the pose folder would be replaced."""
    return poses.is_dir() and any((folder / file.name).exists() for file in poses.iterdir())


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
    if job.oks_nms is not None:
        check_suppressible(pose_file)
    if job.options.scores == "refined" and all(f.scores is None for s in pose_file.sequences for f in s.frames):
        raise UsageError(f"{job.poses} has no joint scores to replace; leave out --scores refined")
    return pose_file


def _refiner(job: Job, pose_file: PoseFile, report: Report) -> PoseRefiner:
    if not pose_file.sequences:
        raise InputError(f"{job.poses} holds no frames")
    with report.timed("compile"):
        return PoseRefiner(keypoints=pose_file.sequences[0].keypoint_set, **job.refiner)


def _refine(
    source: FrameSource,
    sequence: PoseSequence,
    refiner: PoseRefiner,
    report: Report,
    options: Options,
    overlay: OverlayVideo | None,
    progress: Progress | None,
) -> PoseSequence:
    total = len(sequence.frames) if overlay is None else source.frame_count_hint

    def advance() -> None:
        if progress is not None:
            progress(report, total)

    watch = None if overlay is None else overlay.watcher(sequence.keypoint_set, report)
    return refine_sequence(source, sequence, refiner, report, options, watch, advance)

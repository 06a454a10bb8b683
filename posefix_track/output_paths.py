"""Where a run writes, and what is found out about those places before the work begins."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from posefix_track.errors import ResourceError, UsageError
from posefix_track.formats import PoseFile
from posefix_track.formats.atomic import beside, remove_leftovers

# Of the bytes to be written, for numbers that need more digits than before.
_FREE_SPACE_FACTOR = 1.2
_JOURNAL_BYTES_PER_JOINT, _JOURNAL_BYTES_PER_FRAME = 12.25, 36
_BYTES_PER_MB = 1e6
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")


@dataclass(frozen=True)
class OutputPaths:
    """The refined poses (a file, or a folder where the poses are one), the report, and the overlay video if any."""

    output: Path
    report: Path
    video: Path | None

    def all(self) -> list[Path]:
        """All of them."""
        return [self.output, self.report, *([self.video] if self.video else [])]

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of killed runs."""
        for path in self.all():
            remove_leftovers(path)


def output_paths(source: Path, poses: Path, output: Path | None, save_video: Path | None) -> OutputPaths:
    """Where a run on ``source`` and ``poses`` writes; see Job for ``output`` and ``save_video``.

    Raises UsageError where that is an input, the same place twice, or no name for a video.
    """
    output = _poses_path(poses, output)
    video = output.with_name(source.stem + ".refined.mp4") if save_video == Path() else save_video
    paths = OutputPaths(output, beside(output, ".report.json"), video)
    inputs = {source.resolve(), poses.resolve()}
    taken: set[Path] = set()
    for path in (*paths.all(), beside(output, ".journal")):
        if path.resolve() in inputs:
            raise UsageError(f"{path} is an input of this run; choose another output")
        if path.resolve() in taken:
            raise UsageError(f"{path} is to hold two outputs of this run; choose another --save-video")
        taken.add(path.resolve())
    if video is not None:
        check_video_name(video)
    return paths


def check_video_name(path: Path) -> None:
    """Raises UsageError where no video can be written under this name."""
    if path.suffix.lower() not in _VIDEO_SUFFIXES:
        raise UsageError(f"video is written as MP4, so its name must end in .mp4, not {path.suffix or path.name!r}")


def _poses_path(poses: Path, output: Path | None) -> Path:
    if output is None:
        return poses.with_name(poses.stem + ".refined" + poses.suffix)
    # "." and ".." have no name that anything could lie beside.
    output = output if output.name not in ("", "..") else output.resolve()
    return output / poses.name if output.is_dir() and poses.is_file() else output


def refuse_existing(paths: OutputPaths, poses: Path, overwrite: bool) -> None:
    """Raises UsageError where an output stands already, unless it may be replaced."""
    for path in (paths.output, paths.video):
        if path is not None and (not path.is_dir() or _holds_any(path, poses)):
            refuse_overwriting(path, overwrite)


def refuse_overwriting(path: Path, overwrite: bool) -> None:
    """Raises UsageError where something stands at ``path``, unless it may be replaced."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path} already exists; choose another output or add --overwrite")


def _holds_any(folder: Path, poses: Path) -> bool:
    """Whether a file of the pose folder would be replaced."""
    return poses.is_dir() and any((folder / file.name).exists() for file in poses.iterdir())


def check_free_space(output: Path, pose_file: PoseFile, journal: Path) -> None:
    """Raises ResourceError where the disk has no room for the refined poses and the journal."""
    people = [frame.keypoints.shape[:2] for sequence in pose_file.sequences for frame in sequence.frames]
    joints = sum(people * joints for people, joints in people)
    journal_bytes = _JOURNAL_BYTES_PER_JOINT * joints + _JOURNAL_BYTES_PER_FRAME * len(people)
    needed = _FREE_SPACE_FACTOR * pose_file.byte_count + max(0.0, journal_bytes - journal.stat().st_size)
    free = shutil.disk_usage(journal.parent).free
    if free < needed:
        raise ResourceError(
            f"{journal.parent} has {free / _BYTES_PER_MB:.1f} MB free, but {needed / _BYTES_PER_MB:.1f} MB are needed"
            f" for {output.name} and what is kept for --resume; free some space or choose another output with -o"
        )

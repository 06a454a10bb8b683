"""Folders with one pose file an image: the file's name says which image, and of which video."""

from collections.abc import Sequence

from posefix_track.formats.file_names import split_number
from posefix_track.formats.rows import FrameRows


def file_frame(text: int, stem: str) -> FrameRows:
    """The frame of the ``text``-th file, named ``stem`` without what all of the tool's files end in."""
    return FrameRows(text, split_number(stem)[1], stem)


def by_video(frames: Sequence[FrameRows]) -> dict[str, list[FrameRows]]:
    """Frames of ``file_frame`` by what their names have before the number."""
    videos: dict[str, list[FrameRows]] = {}
    for frame in frames:
        prefix, number = split_number(frame.image_name or "")
        videos.setdefault("" if number is None else prefix.rstrip("_"), []).append(frame)
    return videos

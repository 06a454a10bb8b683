"""Overlay video of a run: refined poses on the frames, or input and refined side by side."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.frames import Frame, FrameSource
from posefix_track.keypoints import KeypointSet
from posefix_track.poses import FramePoses
from posefix_track.refine import RefinedFrame
from posefix_track.render import draw_poses, side_by_side
from posefix_track.video import VideoWriter

# Image folders have no frame rate of their own.
_IMAGE_RATE = Fraction(25)
# Frames that may wait for the thread that draws; each holds its picture.
_MOST_WAITING = 8


class OverlayVideo:
    """Writes an H.264 video frame by frame; it appears under its name when the block ends without an error.

    Drawing and encoding take longer than a GPU needs for a frame, so both happen in a thread of their own.
    """

    def __init__(self, path: Path, source: FrameSource, compare: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._source, self._compare = path, source, compare
        self._rate = source.fps or _IMAGE_RATE
        self._writer: VideoWriter | None = None
        self._thread = ThreadPoolExecutor(1, "overlay")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def write(self, refined: RefinedFrame, keypoint_set: KeypointSet) -> None:
        """Append a frame; its people are of ``keypoint_set``. Raises what went wrong with one of the last frames."""
        self._waiting.append(self._thread.submit(self._append, refined, keypoint_set))
        self._wait(_MOST_WAITING)

    def catch_up(self) -> None:
        """Wait until every frame is in the video. To be called before the block ends; raises what went wrong."""
        self._wait(0)

    def _wait(self, left: int) -> None:
        while len(self._waiting) > left:
            self._waiting.popleft().result()

    def _append(self, refined: RefinedFrame, keypoint_set: KeypointSet) -> None:
        self._write(refined.frame, self._picture(refined, keypoint_set))

    def _picture(self, refined: RefinedFrame, keypoint_set: KeypointSet) -> npt.NDArray[np.uint8]:
        after = _drawn(refined.frame.image, refined.after, keypoint_set)
        if not self._compare:
            return after
        return side_by_side(_drawn(refined.frame.image, refined.before, keypoint_set), after)

    def _write(self, frame: Frame, picture: npt.NDArray[np.uint8]) -> None:
        height, width = picture.shape[:2]
        if self._writer is None:
            self._writer = VideoWriter(self._path, width, height, self._rate)
            self._size = (height, width)
        if self._size != (height, width):
            raise InputError(f"{frame.name}: pictures of different sizes cannot make one video; leave out --save-video")
        self._writer.write(picture, frame.time_seconds if self._source.kind == "video" else None)


def _drawn(
    image: npt.NDArray[np.uint8], groups: tuple[FramePoses, ...], keypoint_set: KeypointSet
) -> npt.NDArray[np.uint8]:
    for poses in groups:
        ids = None if poses.track_ids is None else list(poses.track_ids)
        image = draw_poses(image, poses.keypoints, poses.present, keypoint_set, track_ids=ids)
    return image

"""Writing of H.264 video that browsers play."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from posefix_track.errors import InputError, ResourceError
from posefix_track.formats.atomic import temporary_path
from posefix_track.frames import Image
from posefix_track.output_paths import check_video_name

# About the clock of MPEG: fine enough for any frame time, and a multiple of the usual rates.
_CLOCK_HZ = 90_000
_BT709 = 1
_LIMITED_RANGE = 1


class VideoWriter:
    """H.264 (yuv420p) in MP4, at a fixed frame rate or at given times.

    The file appears under its name only when it is complete; an error inside the ``with`` block leaves an older file
    of that name as it was.

    Args:
        path: ends in .mp4, .m4v or .mov; its folder exists.
        width, height: of the pictures in pixels; an odd size is padded by one row or column.
        fps: frame rate; also the encoder's notion of speed where times are given.
        quality: x264's constant rate factor, 0 (lossless) to 51; 20 looks like the source.

    Raises:
        UsageError: another suffix.
        InputError: a picture of another size, or none at all.
        ResourceError: the file cannot be written.
    """

    def __init__(self, path: Path, width: int, height: int, fps: Fraction, quality: int = 20) -> None:
        check_video_name(path)
        self.path = path
        self._size = (height, width)
        self._temporary = temporary_path(path)
        self._rate = fps.limit_denominator(10_000)
        ticks = max(1, _CLOCK_HZ // self._rate.numerator)
        self._time_base = Fraction(1, self._rate.numerator * ticks)
        self._ticks_per_frame = self._rate.denominator * ticks
        self._last_pts = -self._ticks_per_frame
        with self._reported():
            self._container = av.open(
                str(self._temporary.absolute()), "w", format="mp4", options={"movflags": "+faststart"}
            )
            self._stream = self._new_stream(quality)

    def write(self, image: Image, time_seconds: float | None = None) -> None:
        """Append one picture.

        Args:
            image: uint8 [H, W, 3], BGR.
            time_seconds: when it is shown; None is one frame after the one before.
        """
        if image.shape != (*self._size, 3) or image.dtype != np.uint8:
            height, width = self._size
            raise InputError(f"expected a uint8 picture of {[height, width, 3]}, got {image.dtype} {list(image.shape)}")
        with self._reported():
            self._container.mux(self._stream.encode(self._frame(image, self._next_pts(time_seconds))))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._last_pts < 0:
            self._discard()
            raise InputError(f"no frame to write to {self.path}")
        with self._reported():
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._temporary.replace(self.path)

    def _discard(self) -> None:
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()
        self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self._temporary.unlink(missing_ok=True)
            raise ResourceError(f"cannot write {self.path}: {error.strerror}; check free space and rights") from error

    def _new_stream(self, quality: int) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate)
        height, width = self._size
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = stream.codec_context
        context.time_base = self._time_base
        # x264's macroblock tree reads memory that it never wrote, so that equal pictures gave files of other bytes.
        context.options = {"preset": "veryfast", "crf": str(quality), "x264-params": "mbtree=0"}
        # Said in the file: players otherwise guess the colours from the picture size.
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        return stream

    def _frame(self, image: Image, pts: int) -> VideoFrame:
        height, width = self._size
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)
        frame.pts, frame.time_base = pts, self._time_base
        return frame

    def _next_pts(self, time_seconds: float | None) -> int:
        """Ticks of the next picture; times that stand still or run backwards move on by one tick."""
        wanted = self._last_pts + self._ticks_per_frame
        if time_seconds is not None:
            wanted = round(Fraction(time_seconds) / self._time_base)
        self._last_pts = max(wanted, self._last_pts + 1, 0)
        return self._last_pts

"""Frames of a video file: decord for plain MP4 and MOV, PyAV for everything else.

decord shows the wrong frames of a file with an edit list and of MPEG-TS, and refuses a file that is cut short, so the
container decides. Both give the same pixels, which are also those of OpenCV, with which most trackers read.
"""

import importlib.util
import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from posefix_track.frames import Frame, FrameSource, Image
from posefix_track.video_probe import VideoFacts, open_container, probe, video_stream

Decoder = Literal["decord", "pyav"]
# For the times of a stream that carries neither time stamps nor a rate (raw H.264).
_USUAL_FPS = 30


class _DecodeError(Exception):
    """Ends an iteration; its text goes into ``damage``."""


class _Picture(NamedTuple):
    time_seconds: float | None
    image: Image
    is_corrupt: bool = False
    # Decoded after the last packet of a file that is cut short.
    in_cut_tail: bool = False


_Pictures = Generator[_Picture, None, None]


class VideoFile(FrameSource):
    """A video file, decoded from its first to its last frame.

    Args:
        path: a local file.
        decoder: "decord" or "pyav"; None takes decord where it is installed and right for the file.

    Attributes:
        decoder: the one in use.

    Raises:
        InputError: not a video, no decodable frame, or a side of more than 16384 pixels.
    """

    def __init__(self, path: Path, decoder: Decoder | None = None) -> None:
        self.path, self.kind = path, "video"
        self._facts = probe(path)
        self.width, self.height, self.fps = self._facts.width, self._facts.height, self._facts.fps
        self.frame_count_hint = self._facts.expected_frames
        has_decord = importlib.util.find_spec("decord") is not None
        self.decoder: Decoder = decoder or ("decord" if self._facts.plain and has_decord else "pyav")
        self._running: Generator[Frame, None, None] | None = None

    def __iter__(self) -> Iterator[Frame]:
        self.close()
        self._running = self._frames()
        return self._running

    def close(self) -> None:
        """Release the file; a running iteration ends."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _frames(self) -> Generator[Frame, None, None]:
        self.damage = None
        tally, reason = _Tally(self._facts), ""
        pictures = (_decord_pictures if self.decoder == "decord" else _pyav_pictures)(self.path, self._facts)
        try:
            for picture in itertools.takewhile(tally.follows, pictures):
                time_seconds = tally.add(picture)
                yield Frame(tally.count - 1, time_seconds, picture.image)
        except _DecodeError as error:
            reason = str(error)
        finally:
            pictures.close()
        self.damage = tally.damage(reason)


@dataclass
class _Tally:
    """What was decoded so far, to be held against what the container says."""

    facts: VideoFacts
    count: int = 0
    first: float | None = None
    last: float = 0.0
    longest_step: float = 0.0
    first_corrupt: int | None = None

    def follows(self, picture: _Picture) -> bool:
        """Whether a picture is the next one. Where a file is cut, B-frames before the last pictures are missing."""
        step = self._stamp(picture) - self.last
        return not picture.in_cut_tail or step < 1.5 * self.longest_step

    def add(self, picture: _Picture) -> float:
        """Count one picture; returns its time from the first one in seconds."""
        stamp = self._stamp(picture)
        if self.first is None:
            self.first = self.last = stamp
        self.longest_step, self.last = max(self.longest_step, stamp - self.last), stamp
        if picture.is_corrupt and self.first_corrupt is None:
            self.first_corrupt = self.count
        self.count += 1
        return stamp - self.first

    def damage(self, reason: str) -> str | None:
        """One sentence, or None where everything announced was decoded."""
        expected = self.facts.expected_frames
        count = f"{self.count} of {expected} frames" if expected else f"{self.count} frames"
        # The last frame may be shown for as long as the slowest one before it; then some, as containers round.
        if reason or self.facts.is_short(self.count, self.last + 2.5 * self.longest_step):
            return f"decoding ended after {count}" + (f" ({reason})" if reason else "")
        if self.first_corrupt is not None:
            return f"damaged from frame {self.first_corrupt} on; {count} were decoded, some only in part"
        return None

    def _stamp(self, picture: _Picture) -> float:
        counted = self.count / float(self.facts.fps or _USUAL_FPS)
        return counted if picture.time_seconds is None else picture.time_seconds


@dataclass
class _Packets:
    """What was read of the stream before decoding."""

    facts: VideoFacts
    count: int = 0
    end: float = 0.0
    is_corrupt: bool = False

    def add(self, packet: "av.Packet[VideoStream]") -> bool:
        """Count one packet; returns whether it is the empty last one of a file that is cut short."""
        if not packet.size:
            return self.facts.is_short(self.count, self.end)
        self.count += 1
        self.is_corrupt |= packet.is_corrupt
        # Half a frame more, as containers round.
        end = ((packet.pts or 0) + 1.5 * (packet.duration or 0)) * packet.time_base
        self.end = max(self.end, float(end))
        return False


def _pyav_pictures(path: Path, facts: VideoFacts) -> _Pictures:
    with open_container(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        packets = _Packets(facts)
        try:
            for packet in container.demux(stream):
                in_cut_tail = packets.add(packet)
                for frame in packet.decode():
                    is_corrupt = packets.is_corrupt or frame.is_corrupt
                    yield _Picture(frame.time, _upright(frame, facts), is_corrupt, in_cut_tail)
        except av.FFmpegError as error:
            raise _DecodeError(error.strerror) from error


def _upright(frame: VideoFrame, facts: VideoFacts) -> Image:
    stored = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    return np.ascontiguousarray(np.rot90(stored, facts.quarter_turns))


def _decord_pictures(path: Path, facts: VideoFacts) -> _Pictures:
    """Frames by decord, and by PyAV from where decord fails: it drops what it holds, at a place that varies."""
    import decord

    done = 0
    try:
        reader = decord.VideoReader(str(path.absolute()), num_threads=0)
        starts = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
        # Counted, since next() may hang beyond the last frame.
        for start in starts[: facts.frame_count]:
            image = cv2.cvtColor(reader.next().asnumpy(), cv2.COLOR_RGB2BGR)
            yield _Picture(float(start), np.asarray(image, np.uint8))
            done += 1
    except (decord.DECORDError, RuntimeError, StopIteration):
        yield from itertools.islice(_pyav_pictures(path, facts), done, None)

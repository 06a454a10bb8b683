"""Frames of a video file, decoded by PyAV (libav) one after the other."""

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from inspect import GEN_RUNNING, getgeneratorstate
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from posefix_track.frame_numbers import FrameNumbers, Place
from posefix_track.frames import Frame, FrameSource, Image
from posefix_track.image_header import MAX_PIXELS
from posefix_track.video_probe import VideoFacts, open_container, packet_positions, probe, video_stream

# For the times of a stream that carries neither time stamps nor a rate (raw H.264).
_USUAL_FPS = 30
# Fixed, since what is lost round a fault depends on how many packets are in work.
_THREADS = 8


@dataclass(frozen=True)
class _Picture:
    place: Place
    time_seconds: float | None
    frame: VideoFrame


class VideoFile(FrameSource):
    """A video file, decoded from its first to its last frame.

    Pictures that are missing, that the decoder had to make up in part, or that build on such ones up to the next key
    frame are left out; the others keep the index that they have in the undamaged video. Where that cannot be told any
    more, the iteration ends.

    Args:
        path: a local file.

    Raises:
        InputError: not a video, no decodable frame, or too large a picture.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.kind = path, "video"
        self._facts = probe(path)
        self.width, self.height, self.fps = self._facts.width, self._facts.height, self._facts.fps
        self.frame_count_hint = self._facts.expected_frames
        self._running: Generator[Frame, None, None] | None = None

    def __iter__(self) -> Iterator[Frame]:
        return self.read_from(0)

    def read_from(self, first: int) -> Iterator[Frame]:
        """The frames from index ``first`` on.

        Those before are decoded, since only so is the index certain, but no pictures are made of them.
        """
        self.close()
        self._running = self._frames(first)
        return self._running

    def close(self) -> None:
        """Release the file; a running iteration ends, unless a thread hangs in it."""
        if self._running is not None and getgeneratorstate(self._running) != GEN_RUNNING:
            self._running.close()
        self._running = None

    def _frames(self, first: int) -> Generator[Frame, None, None]:
        self.damage, self.uncounted = None, 0
        decoding = _Decoding(self.path, self._facts)
        first_time = None
        with open_container(self.path) as container:
            for picture in decoding.pictures(container, video_stream(container, self.path)):
                self.uncounted = picture.place.uncounted
                time = self._time(picture)
                first_time = time if first_time is None else first_time
                if picture.place.index >= first:
                    yield Frame(picture.place.index, time - first_time, _upright(picture.frame, self._facts))
        self.damage = decoding.damage()

    def _time(self, picture: _Picture) -> float:
        counted = picture.place.index / float(self.fps or _USUAL_FPS)
        return counted if picture.time_seconds is None else picture.time_seconds


class _Decoding:
    """One pass over a file, held against what the container says."""

    def __init__(self, path: Path, facts: VideoFacts) -> None:
        self._path, self._facts = path, facts
        self._numbers = FrameNumbers(facts, packet_positions(path, facts))
        self._end_seconds = 0.0
        self._packets = self._sound = self._next = 0
        self._first_damaged: int | None = None
        # Why it ended early, where it did.
        self._reason = ""

    def pictures(self, container: InputContainer, stream: VideoStream) -> Iterator[_Picture]:
        """Sound pictures with their numbers."""
        stream.thread_type = "AUTO"
        context = stream.codec_context
        context.thread_count = _THREADS
        context.options = {"max_pixels": str(MAX_PIXELS)}
        # A picture may turn out to build on a fault that shows only in one that is decoded before and shown after it.
        held: deque[_Picture] = deque()
        for picture in self._numbered(container, stream):
            held.append(picture)
            if len(held) > context.reorder_depth:
                yield from self._if_sound(held.popleft())
        for picture in held:
            yield from self._if_sound(picture)

    def damage(self) -> str | None:
        """One sentence, or None where everything announced was decoded."""
        numbers, expected = self._numbers, self._facts.expected_frames
        count = f"{self._sound} of {expected} frames" if expected else f"{self._sound} frames"
        from_frame = self._next if self._first_damaged is None else self._first_damaged
        if self._reason or self._is_short() or self._lacks_frames():
            reason = self._reason or "the file is cut short or damaged"
            return f"decoding ended after {numbers.index + 1} frames ({reason}); {count} are sound"
        return f"damaged from frame {from_frame} on; {count} are sound" if numbers.damaged else None

    def _numbered(self, container: InputContainer, stream: VideoStream) -> Iterator[_Picture]:
        for frame in self._decoded(container, stream):
            time = _seconds(frame.pts, stream)
            place = self._numbers.picture(time, frame.key_frame, frame.is_corrupt)
            if self._numbers.is_lost:
                self._reason = "which frames follow a damaged part cannot be told"
                return
            if place is not None:
                yield _Picture(place, time, frame)

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        for packet in self._demuxed(container, stream):
            try:
                yield from stream.decode(packet)
            except av.FFmpegError:
                self._numbers.failed()

    def _demuxed(self, container: InputContainer, stream: VideoStream) -> "Iterator[av.Packet[Stream] | None]":
        """Packets of the stream, then None, which empties the decoder; where all others lie shows what is missing."""
        try:
            for packet in container.demux():
                is_own = packet.stream_index == stream.index and packet.size > 0
                if packet.pos is not None:
                    self._numbers.passed(packet.pos, packet.size, is_own)
                if is_own:
                    self._read(packet, stream)
                    yield packet
        except av.FFmpegError as error:
            self._reason = error.strerror or "it cannot be read"
        self._numbers.ended(is_short=bool(self._reason) or self._is_short())
        yield None

    def _read(self, packet: "av.Packet[Stream]", stream: VideoStream) -> None:
        if not packet.is_discard:
            time = _seconds(packet.pts, stream)
            self._numbers.packet(time, packet.is_corrupt)
            self._packets += 1
            duration = float((packet.duration or 0) * packet.time_base) or 1 / float(self._facts.fps or _USUAL_FPS)
            # Half a frame more, as containers round.
            self._end_seconds = max(self._end_seconds, (time or 0.0) + 1.5 * duration)

    def _is_short(self) -> bool:
        return self._facts.is_short(self._packets, self._end_seconds)

    def _lacks_frames(self) -> bool:
        return self._facts.frame_count is not None and self._numbers.index + 1 < self._facts.frame_count

    def _if_sound(self, picture: _Picture) -> Iterator[_Picture]:
        index, trusted = picture.place.index, self._numbers.trusts(picture.place)
        if self._first_damaged is None and not (trusted and index == self._next):
            self._first_damaged = self._next
        self._next = index + 1
        if trusted:
            self._sound += 1
            yield picture


def _seconds(ticks: int | None, stream: VideoStream) -> float | None:
    return None if ticks is None else float(ticks * (stream.time_base or 0))


def _upright(frame: VideoFrame, facts: VideoFacts) -> Image:
    stored = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    return np.ascontiguousarray(np.rot90(stored, facts.quarter_turns))

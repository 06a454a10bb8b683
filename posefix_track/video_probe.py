"""What a video container says about itself, looked at by PyAV before anything but one frame is decoded."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from posefix_track.avi_chunks import avi_packets
from posefix_track.errors import InputError
from posefix_track.flv_tags import flv_packets
from posefix_track.gif_blocks import gif_packets
from posefix_track.image_header import MAX_PIXELS
from posefix_track.matroska_start import matroska_start
from posefix_track.program_stream import program_stream_packets
from posefix_track.transport_stream import TransportStream, read_transport_stream

MAX_SIDE = 16384
# Formats that hold their own pictures. Play lists (HLS, DASH, concat) open other files and addresses and are not here.
_FORMATS = (
    "mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "h264", "hevc", "m4v",
    "ivf", "mxf", "nut", "gif", "apng", "yuv4mpegpipe",
)  # fmt: skip
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}
_MAX_FPS = 1000
# The most pictures that codecs hold back for reordering.
_REORDER = 16
_DURATION = re.compile(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d{1,9})?)")


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video before it is decoded.

    Attributes:
        width, height: upright, in pixels.
        fps: frames per second; None where the container does not tell.
        quarter_turns: counter-clockwise from the stored picture to the upright one, 0 to 3.
        frame_count: number of frames in the container's own table; None where it has none.
        start_seconds: time stamp of the first frame.
        end_seconds: time stamp at which the last frame ends; None where only a guess is to be had.
        container: libav's name of the format, the first where it has several.
        codec: libav's name of it.
        stream: number of the video among the container's streams.
        faults: positions in the file at which a transport stream lacks packets.
        units: positions in the file at which pictures of a transport stream begin.
        packets_start: position in the file before which Matroska has no packets; None for other containers.
    """

    width: int
    height: int
    fps: Fraction | None
    quarter_turns: int
    frame_count: int | None
    start_seconds: float
    end_seconds: float | None
    container: str
    codec: str
    stream: int
    faults: tuple[int, ...] = ()
    units: tuple[int, ...] = ()
    packets_start: int | None = None

    @property
    def expected_frames(self) -> int | None:
        """The table's count, else duration times rate, else None."""
        if self.frame_count is not None or self.end_seconds is None or self.fps is None:
            return self.frame_count
        return round((self.end_seconds - self.start_seconds) * self.fps)

    def is_short(self, count: int, end_seconds: float) -> bool:
        """Whether ``count`` frames that end at the time stamp ``end_seconds`` are fewer than announced."""
        if self.frame_count is not None:
            return count < self.frame_count
        return self.end_seconds is not None and end_seconds < self.end_seconds


def open_container(path: Path) -> InputContainer:
    """Open a local file with libav, which may not follow it to any other file or address.

    Raises:
        InputError: not a readable video container.
    """
    try:
        return av.open(str(path.absolute()), options=_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"{path} is not a video that can be read ({_reason(error)}); streams and play lists are not followed"
        ) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream. Raises InputError where there is none, or only a cover picture."""
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            return stream
    raise InputError(f"{path} has no video stream; a video, an image or a folder of images is needed")


def probe(path: Path) -> VideoFacts:
    """Look at the container and decode one frame.

    Raises:
        InputError: not a video, nothing to decode, or a side of more than 16384 pixels.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        _check_size(stream, path)
        turns = _quarter_turns(container, stream, path)
        width, height = (stream.height, stream.width) if turns % 2 else (stream.width, stream.height)
        transport = read_transport_stream(path, stream.id) if _name(container) == "mpegts" else TransportStream()
        return VideoFacts(
            width,
            height,
            fps=_fps(stream),
            quarter_turns=turns,
            frame_count=_frame_count(container, stream, path),
            start_seconds=_seconds(stream, stream.start_time) or 0.0,
            end_seconds=_end(container, stream),
            container=_name(container),
            codec=stream.codec.canonical_name,
            stream=stream.index,
            faults=tuple(transport.faults),
            units=tuple(transport.units),
            packets_start=matroska_start(path) if _name(container) == "matroska" else None,
        )


def packet_positions(path: Path, facts: VideoFacts) -> Iterator[int] | None:
    """Where in the file packets begin, ascending: the video's, and others' in "mpeg"; None where nothing tells."""
    if facts.container == "avi":
        return avi_packets(path, facts.stream)
    readers: dict[str, Callable[[Path], Iterator[int] | None]]
    readers = {"flv": flv_packets, "gif": gif_packets, "mpeg": program_stream_packets}
    if facts.container in readers:
        return readers[facts.container](path)
    return iter(facts.units) if facts.units else None


def _check_size(stream: VideoStream, path: Path) -> None:
    width, height = stream.width, stream.height
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise InputError(
            f"{path} has frames of {width}x{height}; 1 to {MAX_SIDE} pixels a side are read,"
            f" {MAX_PIXELS // 10**6} million in all"
        )


def _quarter_turns(container: InputContainer, stream: VideoStream, path: Path) -> int:
    """Rotation is told only with a decoded frame, of which the first may be damaged."""
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    reason = "no frame found"
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    return round(frame.rotation / 90) % 4
            except av.FFmpegError as error:
                reason = _reason(error)
    except av.FFmpegError as error:
        reason = _reason(error)
    raise InputError(f"no frame of {path} can be decoded ({reason})")


def _frame_count(container: InputContainer, stream: VideoStream, path: Path) -> int | None:
    """Number of shown frames in an MP4's table.

    Raises:
        InputError: the table is damaged: samples share bytes, so that pictures would repeat, or single ones are hidden.
    """
    table = list(stream.index_entries)
    if _name(container) != "mov" or len(table) < stream.frames or not table:
        return None
    spans = sorted((entry.pos, entry.pos + entry.size) for entry in table)
    hidden = [entry.is_discard for entry in table]
    if any(end > start for (_, end), (start, _) in pairwise(spans)) or _hides_one(hidden):
        raise InputError(f"the frame table of {path} is damaged; mend it first, as by: ffmpeg -i IN -c copy OUT")
    # An edit list that hides frames also drops entries, so stream.frames (all samples) tells more than the table.
    return len(table) - sum(hidden)


def _hides_one(hidden: list[bool]) -> bool:
    """Whether a picture is hidden alone. Edit lists hide whole parts, at whose borders codecs reorder a few."""
    parts = [(shown, len(list(run))) for shown, run in groupby(not now for now in hidden)]
    return any(
        not shown and count == 1 and before > _REORDER < after
        for (_, before), (shown, count), (_, after) in zip(parts, parts[1:], parts[2:], strict=False)
    )


def _name(container: InputContainer) -> str:
    return container.format.name.split(",")[0]


def _fps(stream: VideoStream) -> Fraction | None:
    """The guessed rate survives a wrong duration in the header, which the average does not."""
    for rate in (stream.guessed_rate, stream.average_rate):
        if rate is not None and 0 < rate <= _MAX_FPS:
            return rate
    return None


def _end(container: InputContainer, stream: VideoStream) -> float | None:
    tag = stream.metadata.get("DURATION", "")  # Matroska; despite its name the end of the last frame
    if match := _DURATION.fullmatch(tag):
        hours, minutes, seconds = (float(part) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds
    duration = _seconds(stream, stream.duration)
    if _name(container) == "mpeg":
        return (
            None  # libav has looked at the time stamps of the first and the last packet, which may hold many pictures
        )
    if _name(container) == "avi":
        # Of a file that is cut libav tells what is left.
        duration = _seconds(stream, max(stream.duration or 0, stream.frames))
    if duration is not None:
        return (_seconds(stream, stream.start_time) or 0.0) + duration
    # A container's own duration is that of its longest stream.
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / av.time_base if alone and container.duration else None


def _seconds(stream: VideoStream, ticks: int | None) -> float | None:
    return None if ticks is None or stream.time_base is None else float(ticks * stream.time_base)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or "no frame found"

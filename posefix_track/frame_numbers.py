"""Which frame of the undamaged video a decoded picture is, and whether its pixels can be trusted.

Whole files need none of this: their pictures are counted. Where a file is damaged, decoders leave pictures out and
libav does not say which, so that every later one would be taken for another. Two things are known then: packets that
were read but gave no picture, and, in a stream of constant rate, the time stamps that are missing.
"""

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from posefix_track.video_probe import VideoFacts

# A time stamp may be off by this share of a frame's duration: Matroska rounds to milliseconds.
_TOLERANCE = 0.25
# Bytes between two packets of a Matroska file that are no more than headers.
_HEADERS = 64
# Packets after a hole within which the gap in the time stamps must show; codecs reorder by at most 16.
_REORDER = 17
_ALWAYS = 1 << 62

# Every packet of these shows a picture. Others have packets that repeat the one before, or that are only built upon.
_ALL_SHOWN = ("h264", "hevc", "mpeg1video", "mpeg2video", "vp9", "av1", "mjpeg")

Losses = Literal["none", "holes", "faults", "unseen"]
# How the loss of whole packets shows. MP4 and MOV keep a table of all of them, those of Matroska lie end to end, those
# of a transport stream are numbered; how many are lost is then told by the time stamps. Of other containers nothing is
# known, and AVI states no times: libav counts its frames.
_LOSSES: dict[str, Losses] = {"mov": "none", "matroska": "holes", "mpegts": "faults", "flv": "faults"}
# The packets of a program stream begin anywhere in pictures, and those of all its streams are announced.
_ANNOUNCES_MORE = ("mpeg",)


@dataclass(frozen=True)
class Place:
    """Number of a picture in the undamaged video, and of its packet among those read.

    ``uncounted`` frames before it gave no picture: a reader that counts pictures gives it a number lower by as much.
    """

    index: int
    packet: int
    uncounted: int


@dataclass
class FrameNumbers:
    """Follows one stream from its first packet to its last picture.

    Attributes:
        packets: where the stream's packets begin in the file, ascending; None where the container does not tell.
        index: number of the latest picture in the undamaged video, -1 before the first.
        is_lost: no picture can be numbered any more.
    """

    facts: VideoFacts
    packets: Iterator[int] | None = None
    index: int = -1
    is_lost: bool = False
    _packets: int = 0
    _uncounted: int = 0
    _end_of_packet: int | None = None
    _position: int | None = None
    # Where the latest packet of the stream was to begin.
    _announced: int | None = None
    # Packets that no picture has come of yet: time stamp in seconds and number, ascending.
    _stamps: list[tuple[float, int]] = field(default_factory=list)
    _hole_before: int | None = None
    # Something is missing before the first packet, nobody knows how much.
    _starts_late: bool = False
    _cut: bool = False
    _time: float | None = None
    _first_time: float = 0.0
    _longest_step: float = 0.0
    _shortest_step: float = math.inf
    _regular: bool = True
    _one_to_one: bool = True
    _drops_unsaid: bool = False
    # Packets [first, end) whose pictures build on damage; the last is open until a sound key frame comes.
    _doubts: list[tuple[int, int]] = field(default_factory=list)
    _last_fault: int = -1

    def __post_init__(self) -> None:
        self._losses: Losses = _LOSSES.get(self.facts.container, "unseen")
        self._faults = deque(self.facts.faults)
        self._end_of_packet = self.facts.packets_start
        self._regular = self.facts.fps is not None

    def passed(self, position: int, size: int, is_own: bool) -> None:
        """A packet lies here in the file, of the stream that is to be shown where ``is_own``."""
        while self._faults and self._faults[0] < position + size:
            fault = self._faults.popleft()
            # It may have hit the packet before, which began to be read at its own position.
            self._doubt(max(self._packets - 1, 0), self._packets - (fault < position))
            self._hole(self._packets + (is_own and fault >= position))
        end = self._end_of_packet
        # Laced packets state the position of the first of them.
        self._end_of_packet = size + (end if end is not None and position == self._position else position)
        if self._losses == "holes" and end is not None:
            begins_early = self._position is None and position < end
            if begins_early or position - end > _HEADERS:
                self._hole(self._packets)
        if is_own and not self._is_announced(position):
            self._hole(self._packets)
        self._position = position

    def packet(self, time_seconds: float | None, is_corrupt: bool) -> None:
        """A packet of the stream that is to be shown was read."""
        if time_seconds is not None:
            insort(self._stamps, (time_seconds, self._packets))
        if is_corrupt:
            self._hole(self._packets + 1)
            self._doubt(self._packets)
        self._packets += 1

    def ended(self, is_short: bool) -> None:
        """No packet follows, though more were announced where ``is_short``."""
        if is_short or self._faults:
            self._hole_before, self._cut = self._packets, True
        if self._faults and self.facts.container == "mpegts":
            # The latest packet may be torn, of which decoders that run in threads do not always tell.
            self._doubt(max(self._packets - 1, 0))

    def failed(self) -> None:
        """The decoder refused a packet: the latest one, or one of those that it was still busy with."""
        self._doubt(0, self._packets - 1)

    def picture(self, time_seconds: float | None, is_key: bool, is_corrupt: bool) -> Place | None:
        """Where the next picture belongs; None where that cannot be told.

        Args:
            time_seconds: its time stamp.
            is_key: nothing before it is needed to decode it.
            is_corrupt: the decoder had to make up a part of it.
        """
        taken = self._taken(time_seconds)
        packet = taken[-1][1] if taken else self._packets - 1
        if is_corrupt:
            self._doubt(packet)
        elif is_key and packet > self._last_fault:
            self._close_doubt(packet)
        if self._doubts and self._time is not None and time_seconds is not None and time_seconds <= self._time:
            # Codecs show pictures too late round damage; one that was taken for dropped tells that time stamps lie.
            self.is_lost |= self._drops_unsaid
            return None
        step = self._step(time_seconds, [time for time, _ in taken], packet)
        if step is None:
            self.is_lost = True
            return None
        self.index += step
        self._time = time_seconds
        self._uncounted += step - 1
        return Place(self.index, packet, self._uncounted)

    @property
    def damaged(self) -> bool:
        """Whether anything was wrong so far."""
        return bool(self._doubts)

    def trusts(self, place: Place) -> bool:
        """Whether a picture builds on nothing damaged, as far as that shows."""
        return not any(first <= place.packet < end for first, end in self._doubts[-_REORDER:])

    def _step(self, time: float | None, stamps: list[float], packet: int) -> int | None:
        """How many frames on from the latest picture the next one is."""
        before = self._time
        lost = self._lost(before, stamps, packet)
        if before is not None and not self._doubts and self._failed_unsaid([before, *stamps]):
            self._drops_unsaid = True
            self._doubt(packet - len(stamps) + 1)
        if not self._doubts:
            self._learn(before, time, stamps)
            return 1
        if lost is None or not self._one_to_one or (before is None and self.index >= 0):
            return None
        return len(stamps) + lost or None

    def _failed_unsaid(self, times: list[float]) -> bool:
        """Whether the decoder has dropped a packet between two pictures without a word."""
        if len(times) <= 2 or not self._one_to_one or self.facts.codec not in _ALL_SHOWN:
            return False
        # The second field of a picture may be a packet of its own; it comes half a step after the first.
        return min(b - a for a, b in pairwise(times)) > (1 - _TOLERANCE) * self._shortest_step

    def _taken(self, time: float | None) -> list[tuple[float, int]]:
        """The packet of the picture and those before it that gave none, taken out of those waiting."""
        if time is None:
            return []
        count = bisect_right(self._stamps, (time, self._packets))
        taken, self._stamps = self._stamps[:count], self._stamps[count:]
        return taken

    def _learn(self, before: float | None, time: float | None, stamps: list[float]) -> None:
        """How a stream behaves while nothing is wrong with it tells what to make of it later."""
        if before is None or time is None:
            self._first_time = time or 0.0
            return
        self._one_to_one &= len(stamps) == 1
        self._longest_step = max(self._longest_step, time - before)
        self._shortest_step = min(self._shortest_step, time - before)
        self._regular &= self._frames_in(time - before) == 1

    def _lost(self, before: float | None, stamps: list[float], packet: int) -> int | None:
        """Frames without a packet between the latest picture and this one; None where they cannot be counted."""
        if self._starts_late or self._losses == "unseen":
            return None if self._doubts and packet >= self._doubts[0][0] else 0
        if self._hole_before is None:
            return 0
        if not self._regular and (self._cut or self._losses == "faults"):
            # A missing picture may belong before any of those that the codec could still reorder.
            if packet < self._hole_before - _REORDER:
                return 0
            self._doubt(packet)
            return None
        times = stamps if before is None else [before, *stamps]
        steps = [b - a for a, b in pairwise(times)]
        counts = [self._frames_in(step) for step in steps]
        if all(count == 1 for count in counts) or (not self._regular and max(steps, default=0) <= self._longest_step):
            if packet > self._hole_before + _REORDER:
                self._hole_before = None
            return 0
        self._doubt(self._hole_before, self._hole_before - 1)
        return sum(c - 1 for c in counts if c is not None) if self._regular and None not in counts else None

    def _frames_in(self, seconds: float) -> int | None:
        """Frames that a step in time stands for; None where it is no multiple of a frame."""
        rate = float(self.facts.fps or 0)
        count = round(seconds * rate)
        # What the rate is off by, seen over the video so far, counts as often as there are frames in the step.
        elapsed = (self._time or 0.0) - self._first_time
        drift = abs(elapsed * rate / self.index - 1) * (count - 1) if self.index > 0 and elapsed > 0 else 0.0
        return count if count >= 1 and abs(seconds * rate - count) + drift < _TOLERANCE else None

    def _is_announced(self, position: int) -> bool:
        """Whether a packet begins where the container says that the next one does, or still belongs to the latest."""
        if self.packets is None or position == self._announced:
            return True
        self._announced, others = next(self.packets, None), 0
        while self._announced is not None and self._announced < position:
            self._announced, others = next(self.packets, None), others + 1
        return position == self._announced and (others == 0 or self.facts.container in _ANNOUNCES_MORE)

    def _hole(self, packet: int) -> None:
        """Something may be missing before packet number ``packet``."""
        self._hole_before = packet
        self._starts_late |= packet == 0
        if packet == 0 or self._losses == "unseen":
            self._doubt(packet)

    def _doubt(self, first: int, last_fault: int | None = None) -> None:
        """Pictures from packet ``first`` on build on damage, until a key frame after ``last_fault``."""
        self._last_fault = max(self._last_fault, first if last_fault is None else last_fault)
        if self._doubts and self._doubts[-1][1] == _ALWAYS:
            first = min(first, self._doubts.pop()[0])
        elif self._doubts:
            first = max(first, self._doubts[-1][1])
        self._doubts.append((first, _ALWAYS))

    def _close_doubt(self, key_packet: int) -> None:
        if self._doubts and self._doubts[-1][1] == _ALWAYS:
            self._doubts[-1] = (self._doubts[-1][0], key_packet)

"""Faults of an MPEG transport stream (ISO 13818-1, 2.4.3), which libav passes over, and where its units begin."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

_PACKET = 188
_SYNC = 0x47
_PACKETS_AT_ONCE = 1 << 16
_NULL_PID = 0x1FFF
# Packets by which a file is judged.
_SAMPLE = 1000

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Layout:
    """Bytes from packet to packet, and before each: cameras put a clock of four bytes there."""

    stride: int
    lead: int


_LAYOUTS = (_Layout(188, 0), _Layout(192, 4), _Layout(204, 0))


@dataclass(frozen=True)
class TransportStream:
    """What a look at all packets shows.

    Attributes:
        faults: byte positions at which packets are missing, damaged or cut off, ascending.
        units: byte positions of the packets in which a unit of the video starts: a picture, or a few.
    """

    faults: list[int] = field(default_factory=list)
    units: list[int] = field(default_factory=list)


def read_transport_stream(path: Path, video_pid: int) -> TransportStream:
    """Look at every packet of a file: of 188 bytes, of 192 as in cameras' files, or of 204."""
    data = np.memmap(path, np.uint8, "r")
    layout = max(_LAYOUTS, key=lambda each: _share_in_step(data, each.stride))
    found, counters = TransportStream(), dict[int, int]()
    for at, packets in _in_step(data, layout, found.faults):
        for pid in np.unique(_pids(packets)):
            if pid == _NULL_PID:
                continue
            rows = np.flatnonzero(_pids(packets) == pid)
            mine, positions = packets[rows], at + layout.stride * rows
            starts, torn = _starts(mine)
            found.faults.extend(positions[torn | _breaks(mine, int(pid), counters)].tolist())
            if pid == video_pid:
                found.units.extend(positions[starts & ~torn].tolist())
    found.faults.sort()
    return found


def _share_in_step(data: Bytes, stride: int) -> float:
    """Of the first packets, how many start with the sync byte if they follow each other at this distance."""
    sample = data[: _SAMPLE * stride]
    return float(np.bincount(np.flatnonzero(sample == _SYNC) % stride, minlength=1).max() * stride / len(sample))


def _in_step(data: Bytes, layout: _Layout, faults: list[int]) -> Iterator[tuple[int, Bytes]]:
    """Runs of whole packets [N, 188] with their positions; what lies between the runs is added to ``faults``."""
    at, stride = 0, layout.stride
    while at < len(data):
        count = min((len(data) - at) // stride, _PACKETS_AT_ONCE)
        packets = data[at : at + count * stride].reshape(count, stride)[:, layout.lead : layout.lead + _PACKET]
        wrong = np.flatnonzero(packets[:, 0] != _SYNC) if count else np.zeros(1, np.intp)
        good = int(wrong[0]) if len(wrong) else count
        yield at, packets[:good]
        at += good * stride
        if len(wrong):
            faults.append(at)
            at = _next_sync(data, at + 1 + layout.lead, stride) - layout.lead


def _next_sync(data: Bytes, at: int, stride: int) -> int:
    """Where three packets in a row start, or behind the end."""
    while at < len(data):
        window = data[at : at + 64 * stride]
        places = np.flatnonzero(window[: max(len(window) - 2 * stride, 0)] == _SYNC)
        in_row = places[(window[places + stride] == _SYNC) & (window[places + 2 * stride] == _SYNC)]
        if len(in_row):
            return at + int(in_row[0])
        at += 61 * stride
    return len(data) + stride


def _pids(packets: Bytes) -> npt.NDArray[np.int64]:
    return (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]


def _breaks(packets: Bytes, pid: int, counters: dict[int, int]) -> npt.NDArray[np.bool_]:
    """bool [N]: packets of one PID whose continuity counter does not follow, or that the sender marked as damaged."""
    counter = packets[:, 3].astype(np.int64) & 15
    has_payload, has_adaptation = packets[:, 3] & 0x10 != 0, packets[:, 3] & 0x20 != 0
    before = np.concatenate([[counters.get(pid, (int(counter[0]) - has_payload[0]) & 15)], counter[:-1]])
    # A packet may be sent twice, and one without payload does not count.
    follows = (counter == (before + has_payload) & 15) | (counter == before)
    announced = has_adaptation & (packets[:, 4] > 0) & (packets[:, 5] & 0x80 != 0)
    counters[pid] = int(counter[-1])
    return np.asarray(~(follows | announced) | (packets[:, 1] & 0x80 != 0))


def _starts(packets: Bytes) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """bool [N] twice: packets of one PID that announce the start of a unit; those without the code most others have."""
    starts = (packets[:, 1] & 0x40 != 0) & (packets[:, 3] & 0x10 != 0)
    offset = np.where(packets[:, 3] & 0x20 != 0, 5 + packets[:, 4].astype(np.int64), 4)
    places = np.minimum(offset[:, None] + np.arange(3), _PACKET - 1)
    has_code = (np.take_along_axis(packets, places, 1) == (0, 0, 1)).all(1)
    is_stream = has_code[starts].mean() > 0.5 if starts.any() else False
    return np.asarray(starts), np.asarray(starts & ~has_code & is_stream)

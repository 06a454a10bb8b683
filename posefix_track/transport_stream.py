"""Faults of an MPEG transport stream (ISO 13818-1, 2.4.3), which libav passes over: packets missing or torn."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

_PACKET = 188
_SYNC = 0x47
_PACKETS_AT_ONCE = 1 << 16
_NULL_PID = 0x1FFF


def transport_faults(path: Path) -> list[int]:
    """Byte positions at which packets are missing, damaged or cut off, ascending; of 188-byte packets only."""
    with path.open("rb") as file:
        if file.read(1) != bytes([_SYNC]):
            return []
    data = np.memmap(path, np.uint8, "r")
    counters: dict[int, int] = {}
    faults: list[int] = []
    for start, packets in _in_step(data, faults):
        for pid in np.unique(_pids(packets)):
            if pid != _NULL_PID:
                faults.extend(start + _PACKET * int(row) for row in _gaps(packets, int(pid), counters))
    return sorted(faults)


def _in_step(data: npt.NDArray[np.uint8], faults: list[int]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Runs of whole packets [N, 188] with their positions; what lies between the runs is added to ``faults``."""
    at = 0
    while at < len(data):
        count = min((len(data) - at) // _PACKET, _PACKETS_AT_ONCE)
        packets = data[at : at + count * _PACKET].reshape(count, _PACKET)
        wrong = np.flatnonzero(packets[:, 0] != _SYNC) if count else np.zeros(1, np.intp)
        good = int(wrong[0]) if len(wrong) else count
        yield at, packets[:good]
        at += good * _PACKET
        if len(wrong):
            faults.append(at)
            at = _next_sync(data, at + 1)


def _next_sync(data: npt.NDArray[np.uint8], at: int) -> int:
    """Where three packets in a row start, or the end."""
    while at < len(data):
        window = data[at : at + 64 * _PACKET]
        places = np.flatnonzero(window[: max(len(window) - 2 * _PACKET, 0)] == _SYNC)
        in_row = places[(window[places + _PACKET] == _SYNC) & (window[places + 2 * _PACKET] == _SYNC)]
        if len(in_row):
            return at + int(in_row[0])
        at += 61 * _PACKET
    return len(data)


def _pids(packets: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    return (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]


def _gaps(packets: npt.NDArray[np.uint8], pid: int, counters: dict[int, int]) -> npt.NDArray[np.intp]:
    """Rows of one PID whose continuity counter does not follow, or that the sender marked as damaged."""
    rows = np.flatnonzero(_pids(packets) == pid)
    mine = packets[rows]
    counter = mine[:, 3].astype(np.int64) & 15
    has_payload, has_adaptation = mine[:, 3] & 0x10 != 0, mine[:, 3] & 0x20 != 0
    before = np.concatenate([[counters.get(pid, (int(counter[0]) - has_payload[0]) & 15)], counter[:-1]])
    # A packet may be sent twice, and one without payload does not count.
    follows = (counter == (before + has_payload) & 15) | (counter == before)
    announced = has_adaptation & (mine[:, 4] > 0) & (mine[:, 5] & 0x80 != 0)
    counters[pid] = int(counter[-1])
    return np.asarray(rows[~(follows | announced) | (mine[:, 1] & 0x80 != 0) | _torn_starts(mine)], np.intp)


def _torn_starts(packets: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """bool [N]: packets of one PID that announce the start of a unit, without the start code that most others have."""
    starts = (packets[:, 1] & 0x40 != 0) & (packets[:, 3] & 0x10 != 0)
    offset = np.where(packets[:, 3] & 0x20 != 0, 5 + packets[:, 4].astype(np.int64), 4)
    places = np.minimum(offset[:, None] + np.arange(3), _PACKET - 1)
    has_code = (np.take_along_axis(packets, places, 1) == (0, 0, 1)).all(1)
    is_stream = has_code[starts].mean() > 0.5 if starts.any() else False
    return np.asarray(starts & ~has_code & is_stream)

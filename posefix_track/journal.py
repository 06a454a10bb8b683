"""What a run has done so far, on disk: it survives whatever ends the run, and --resume goes on from there.

A journal is a file of records that is only ever appended to. Each has its length and checksum, so that one that was
cut short is recognised and dropped. The first one says what the run is. Each of the others has the results of frames
that went through the engine together: a resumed run forms the same batches as one that was never interrupted, and so
gets the same numbers to the last bit.
"""

import errno
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from filelock import lock_descriptor

from posefix_track.errors import ResourceError, UsageError
from posefix_track.formats.atomic import beside
from posefix_track.people import shift_of
from posefix_track.poses import Float, PoseSequence
from posefix_track.refiner import RefinedPoses

_MAGIC = b"posefix_track journal 1\n"
# Length and CRC-32 of what follows.
_RECORD = struct.Struct("<II")
# Sequence, frames, index of the frame after them, and number of results, each of which starts with the position of its
# poses in the sequence.
_GROUP, _POSITION = struct.Struct("<IIqI"), struct.Struct("<I")
# A killed process loses nothing that is written, a power cut no more than this.
_SYNC_SECONDS = 10.0
# Network file systems may come without locks; there two runs on one output are not told apart.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class Journal:
    """The results of one run on one output; within the block no other run can have the same output.

    Leaving the block after an error keeps the file if it has any frames, and notes on the error that they are kept.

    Attributes:
        path: the file, beside the output.
        frames: for each sequence, number of pictures whose poses are done.
        next_index: for each sequence, index of the first picture after those.
        goes_on: whether frames of an interrupted run were found and are wanted.

    Raises:
        UsageError: another run has this output, or frames of an interrupted run wait and nobody said what to do.
        ResourceError: the folder takes no file.
    """

    def __init__(self, output: Path, resume: bool = False, overwrite: bool = False) -> None:
        self.path = beside(output, ".journal")
        self._output, self._resume = output, resume
        self._file = _locked(self.path, output)
        self._begun, self._end, self._synced = False, 0, time.monotonic()
        self.frames: list[int] = []
        self.next_index: list[int] = []
        self._check_content(overwrite)

    def _check_content(self, overwrite: bool) -> None:
        try:
            start = self._file.read(len(_MAGIC))
            if not _MAGIC.startswith(start):
                raise UsageError(f"{self.path} is no journal of posefix_track, but its place is needed; move it away")
            waiting = sum(_GROUP.unpack_from(payload)[1] for _, payload in self._records(skip=1))
            self.goes_on = self._resume and waiting > 0
            if waiting and not (self._resume or overwrite):
                raise UsageError(
                    f"{self.path} holds {waiting} frames of an interrupted run; add --resume to go on, or --overwrite"
                    " to start again"
                )
        except BaseException:
            self._file.close()
            raise

    def begin(self, identity: Mapping[str, str], sequences: Sequence[PoseSequence]) -> None:
        """Start the journal of the run that ``identity`` describes, or go on with it.

        Raises:
            UsageError: the journal is that of another run.
            ResourceError: the disk does not take it.
        """
        self._sequences = sequences
        self._offsets = [np.full(len(sequence.frames), -1, np.int64) for sequence in sequences]
        self.frames, self.next_index = [0] * len(sequences), [0] * len(sequences)
        if not (self._resume and self._go_on(dict(identity))):
            self._start_again(dict(identity))

    def _go_on(self, identity: dict[str, str]) -> bool:
        """Take in what the file has; False where it has nothing of use."""
        header = next(self._records(), None)
        if header is None:
            return False
        self._check_identity(json.loads(header[1]), identity)
        self._begun = True
        self._end = header[0] + len(header[1])
        for offset, payload in self._records(skip=1):
            if not self._take_in(offset, payload):
                break
            self._end = offset + len(payload)
        self._file.truncate(self._end)
        return True

    def _check_identity(self, found: dict[str, str], wanted: dict[str, str]) -> None:
        for what in {**wanted, **found}:
            old, new = found.get(what, "none"), wanted.get(what, "none")
            if old != new:
                raise UsageError(
                    f"{self.path} is of a run with another {what} ({old}, now {new}); resume with what that run had,"
                    " or add --overwrite instead of --resume to start again"
                )

    def _start_again(self, identity: dict[str, str]) -> None:
        self._begun, self._end = True, 0
        self._file.truncate(0)
        self._append(_MAGIC)
        self._append_record(json.dumps(identity).encode())

    def add(self, sequence: int, frames: int, next_index: int, results: Sequence[tuple[int, RefinedPoses]]) -> None:
        """Append what came of ``frames`` pictures: (position of the poses in the sequence, result) pairs.

        Raises ResourceError when the disk does not take it.
        """
        pieces = [_GROUP.pack(sequence, frames, next_index, len(results))]
        for position, result in results:
            pieces += [_POSITION.pack(position), _encoded(result)]
        payload = b"".join(pieces)
        offset = self._append_record(payload)
        self._take_in(offset, payload)
        if time.monotonic() > self._synced + _SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def result(self, sequence: int, position: int) -> RefinedPoses | None:
        """What came of the poses at ``position``; None where nothing has."""
        offset = int(self._offsets[sequence][position])
        if offset < 0:
            return None
        before = self._sequences[sequence].frames[position].keypoints
        self._file.seek(offset)
        return _decoded(self._file.read(_size(before.shape)), before)

    def done(self, sequence: int) -> Iterator[int]:
        """Positions that have a result."""
        yield from np.flatnonzero(self._offsets[sequence] >= 0).tolist()

    def remove(self) -> None:
        """The run is complete: its output stands, and this is of no more use."""
        self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.closed:
            return
        done = sum(self.frames)
        if error is not None and done:
            error.add_note(f"{done} frames are kept in {self.path}; the same command with --resume goes on")
        # Before the run has begun, whatever the file holds is another's.
        if not done and (self._begun or not self.path.stat().st_size):
            self._discard()
        self._file.close()

    def _discard(self) -> None:
        if os.name == "nt":  # which removes no open file
            self._file.close()
        self.path.unlink(missing_ok=True)
        self._file.close()

    def _append_record(self, payload: bytes) -> int:
        """Returns where the payload starts."""
        start = self._end + _RECORD.size
        self._append(_RECORD.pack(len(payload), zlib.crc32(payload)) + payload)
        return start

    def _append(self, data: bytes) -> None:
        self._file.seek(self._end)
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError as error:
            raise ResourceError(f"cannot write {self.path} ({self._end} bytes): {error.strerror or error}") from error
        self._end += len(data)

    def _records(self, skip: int = 0) -> Iterator[tuple[int, bytes]]:
        """(offset, payload) of each whole record but the first ``skip``."""
        offset, size = len(_MAGIC), self.path.stat().st_size
        while offset + _RECORD.size <= size:
            self._file.seek(offset)
            length, checksum = _RECORD.unpack(self._file.read(_RECORD.size))
            offset += _RECORD.size
            payload = self._file.read(length) if 0 < length <= size - offset else b""
            # Lost blocks read as zeros: an empty record is none.
            if not payload or zlib.crc32(payload) != checksum:
                return
            if skip <= 0:
                yield offset, payload
            skip, offset = skip - 1, offset + length

    def _take_in(self, offset: int, payload: bytes) -> bool:
        """Note where the results of a record lie; False where they are not those of this run's poses."""
        sequence, frames, next_index, count = _GROUP.unpack_from(payload)
        places, start = [], _GROUP.size
        for _ in range(count):
            if sequence >= len(self._sequences) or start + _POSITION.size > len(payload):
                return False
            (position,) = _POSITION.unpack_from(payload, start)
            known = self._sequences[sequence].frames
            if position >= len(known):
                return False
            places.append((position, offset + start + _POSITION.size))
            start += _POSITION.size + _size(known[position].keypoints.shape)
        if start != len(payload) or sequence >= len(self._sequences):
            return False
        for position, place in places:
            self._offsets[sequence][position] = place
        self.frames[sequence] += frames
        self.next_index[sequence] = next_index
        return True


def _locked(path: Path, output: Path) -> BinaryIO:
    """The file, opened for reading and writing, made if need be, and locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", 0)
            free = _lock(file)
        except OSError as error:
            raise ResourceError(
                f"cannot write {path}: {error.strerror or error}; choose another output with -o"
            ) from error
        if not free:
            file.close()
            raise UsageError(f"another run is writing {output}; wait for it, or choose another output with -o")
        # Whoever held the lock before may have removed the file in between.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()


def _lock(file: BinaryIO) -> bool:
    """Take the lock until ``file`` is closed or its process ends. False where another open file has it."""
    try:
        return lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True
        file.close()
        raise


def _size(shape: tuple[int, ...]) -> int:
    """Bytes of one encoded result for keypoints of shape [N, K, 2]."""
    people, joints = shape[:2]
    return people * joints * 12 + (people * (joints + 1) + 7) // 8


def _encoded(result: RefinedPoses) -> bytes:
    """Keypoints and expected similarity as float32, then ``refined`` and ``considered`` as bits."""
    flags = np.packbits(np.concatenate([result.refined.ravel(), result.considered]))
    numbers = (result.keypoints.astype("<f4").tobytes(), result.expected_ks.astype("<f4").tobytes())
    return b"".join([*numbers, flags.tobytes()])


def _decoded(data: bytes, before: Float) -> RefinedPoses:
    people, joints = before.shape[:2]
    count = people * joints
    numbers = np.frombuffer(data, "<f4", 3 * count)
    flags = np.unpackbits(np.frombuffer(data, np.uint8, offset=12 * count), count=count + people).astype(bool)
    keypoints = numbers[: 2 * count].reshape(people, joints, 2).astype(np.float32)
    refined = flags[:count].reshape(people, joints)
    expected_ks = numbers[2 * count :].reshape(people, joints).astype(np.float32)
    return RefinedPoses(keypoints, expected_ks, refined, shift_of(before, keypoints, refined), flags[count:])

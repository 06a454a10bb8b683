"""Reads TensorFlow checkpoints (TensorBundle V2) without TensorFlow.

``PREFIX.index`` is a LevelDB table from variable names to protobuf entries (LevelDB's table_format.md, TensorFlow's
tensor_bundle.proto); ``PREFIX.data-00000-of-00001`` holds the values, little endian. Both are untrusted: every length
is checked before it is used, and every block and tensor against its CRC-32C.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from trainer.crc32c import masked_crc32c

Float = npt.NDArray[np.float32]

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
# An index holds names and shapes only: the largest PoseFix snapshot needs 0.1 MB.
_MAX_INDEX = 1 << 24
_MAX_NAME = 1024
_MAX_RANK = 8
_FLOAT = 1
_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: ``size`` bytes from ``offset`` of data file ``shard``; ``dtype`` is TensorFlow's number for it."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    masked_crc: int
    sliced: bool


class TensorBundle:
    """A checkpoint, opened by its prefix or by the name of any of its files.

    Attributes:
        prefix: path without suffix.
        entries: variable name -> TensorEntry.

    Raises:
        InputError: no such checkpoint, or an index that is damaged, compressed or big endian.
    """

    def __init__(self, path: Path) -> None:
        self.prefix = path.with_name(_SUFFIX.sub("", path.name))
        index = self.with_suffix(".index")
        try:
            table = read_table(_read_index(index))
            header = dict(fields(table.pop(b"", b"")))
            self.shards = _number(header, 1)
            if _number(header, 2) != 0:
                raise ValueError("it is big endian")
            self.entries = {name.decode(): _entry(value, self.shards) for name, value in table.items()}
        except ValueError as error:
            raise InputError(f"{index}: not a readable TensorFlow checkpoint index: {error}") from error

    def with_suffix(self, suffix: str) -> Path:
        """The checkpoint's file with this suffix."""
        return self.prefix.with_name(self.prefix.name + suffix)

    def data_file(self, shard: int) -> Path:
        """Data file number ``shard``."""
        return self.with_suffix(f".data-{shard:05d}-of-{self.shards:05d}")

    def read(self, name: str) -> Float:
        """One variable, float32.

        Raises:
            InputError: another type, a partitioned variable, or bytes that are missing or do not match their checksum.
        """
        entry = self.entries[name]
        path = self.data_file(entry.shard)
        if entry.dtype != _FLOAT or entry.sliced:
            kind = "a partitioned variable" if entry.sliced else f"of TensorFlow type {entry.dtype}"
            raise InputError(f"{self.prefix}: {name} is {kind}; only whole float32 variables can be read")
        if entry.size != 4 * math.prod(entry.shape):
            raise InputError(f"{self.prefix}: {name} of shape {list(entry.shape)} cannot take {entry.size} bytes")
        data = _read_part(path, entry.offset, entry.size)
        if masked_crc32c(data) != entry.masked_crc:
            raise InputError(f"{path}: {name} does not match its checksum; the file is damaged, copy it again")
        return np.frombuffer(data, "<f4").reshape(entry.shape)


def read_table(data: bytes) -> dict[bytes, bytes]:
    """All rows of a LevelDB table. Raises ValueError that says what is wrong."""
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or not footer.endswith(_MAGIC):
        raise ValueError("its footer is missing, so it is cut short or another kind of file")
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    handles = [_handle(value, 0)[0] for _, value in _rows(_block(data, index))]
    if any(start + size > after for (start, size), (after, _) in pairwise(handles)):
        raise ValueError("its blocks overlap")
    rows = [row for handle in handles for row in _rows(_block(data, handle))]
    names = [name for name, _ in rows]
    if names != sorted(set(names)):
        raise ValueError("its names are not in order")
    return dict(rows)


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protobuf message: numbers as int, all else as bytes. Raises ValueError if damaged."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"a field of unknown kind {kind}")
        length, at = _varint(message, at) if kind == 2 else (8 if kind == 1 else 4, at)
        part = _part(message, at, length)
        at += length
        yield key >> 3, part if kind == 2 else int.from_bytes(part, "little")


def shape_of(message: bytes) -> tuple[int, ...]:
    """Sizes of a TensorShapeProto. Raises ValueError if damaged."""
    sizes = [_number(dict(fields(_message(value))), 1) for field, value in fields(message) if field == 2]
    if len(sizes) > _MAX_RANK:
        raise ValueError(f"a shape of {len(sizes)} dimensions")
    return tuple(sizes)


def _read_index(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_INDEX:
            raise ValueError(f"it is larger than {_MAX_INDEX} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the checkpoint index {path}: {error.strerror}") from error


def _read_part(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            if offset + size > path.stat().st_size:
                raise InputError(f"{path}: cut short; its index speaks of bytes {offset} to {offset + size}")
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise InputError(f"cannot read the checkpoint data {path}: {error.strerror}") from error


def _entry(message: bytes, shards: int) -> TensorEntry:
    values = dict(fields(message))
    dtype, shard, offset, size, crc = (_number(values, field) for field in (1, 3, 4, 5, 6))
    if shard >= shards:
        raise ValueError(f"a tensor in data file {shard} of {shards}")
    return TensorEntry(dtype, shape_of(_message(values.get(2, b""))), shard, offset, size, crc, 7 in values)


def _block(data: bytes, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    # One byte says how the block is compressed; its CRC follows.
    block = _part(data, offset, size + 5)
    if masked_crc32c(block[:-4]) != int.from_bytes(block[-4:], "little"):
        raise ValueError("a block does not match its checksum")
    if block[-5] != 0:
        raise ValueError("it is compressed, which no TensorFlow release does")
    return block[:-5]


def _rows(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Rows of a block; each name is stored as what differs from the one before."""
    restarts = int.from_bytes(block[-4:], "little")
    rows = _part(block, 0, len(block) - 4 - 4 * restarts)
    at, name = 0, b""
    while at < len(rows):
        shared, at = _varint(rows, at)
        length, at = _varint(rows, at)
        size, at = _varint(rows, at)
        if shared > len(name) or shared + length > _MAX_NAME:
            raise ValueError("a name of impossible length")
        name = name[:shared] + _part(rows, at, length)
        yield name, _part(rows, at + length, size)
        at += length + size


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("a number without an end")


def _part(data: bytes, at: int, length: int) -> bytes:
    if length < 0 or at + length > len(data):
        raise ValueError("something ends behind the end of the file")
    return data[at : at + length]


def _number(values: dict[int, int | bytes], field: int) -> int:
    value = values.get(field, 0)
    if not isinstance(value, int):
        raise ValueError(f"field {field} is not a number")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number in place of a message")
    return value

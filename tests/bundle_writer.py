"""Writes TensorFlow checkpoints (TensorBundle V2) for the importer's tests: small, plain, and as the format says."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

FLOAT = 1
MAGIC = bytes.fromhex("57fb808b247547db")


def slow_crc32c(data: bytes) -> int:
    """Bit by bit, as in any textbook."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ 0x82F63B78 * (state & 1)
    return state ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    low = b""
    while value > 0x7F:
        low, value = low + bytes([value & 0x7F | 0x80]), value >> 7
    return low + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def fixed(number: int, value: int) -> bytes:
    return varint(number << 3 | 5) + value.to_bytes(4, "little")


def shape_message(shape: tuple[int, ...]) -> bytes:
    return b"".join(field(2, field(1, size)) for size in shape)


def block(rows: list[tuple[bytes, bytes]], restart_every: int = 16, compression: int = 0) -> bytes:
    content, restarts, last = b"", [], b""
    for i, (name, value) in enumerate(rows):
        shared = 0 if i % restart_every == 0 else len(common(last, name))
        if i % restart_every == 0:
            restarts.append(len(content))
        content += varint(shared) + varint(len(name) - shared) + varint(len(value)) + name[shared:] + value
        last = name
    restarts = restarts or [0]
    content += b"".join(r.to_bytes(4, "little") for r in [*restarts, len(restarts)]) + bytes([compression])
    return content + masked(slow_crc32c(content)).to_bytes(4, "little")


def common(a: bytes, b: bytes) -> bytes:
    length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]


def table(rows: list[tuple[bytes, bytes]], rows_per_block: int = 5, compression: int = 0) -> bytes:
    """A LevelDB table: data blocks, an empty metaindex, the index, the footer."""
    content, index = b"", []

    def add(part: bytes) -> bytes:
        nonlocal content
        handle = varint(len(content)) + varint(len(part) - 5)
        content += part
        return handle

    for first in range(0, len(rows), rows_per_block):
        some = rows[first : first + rows_per_block]
        index.append((some[-1][0], add(block(some, compression=compression))))
    handles = add(block([])) + add(block(index))
    return content + handles.ljust(40, b"\0") + MAGIC


def header(shards: int = 1, endianness: int = 0) -> bytes:
    return field(1, shards) + field(2, endianness) + field(3, field(1, 1))


def entry(values: np.ndarray, offset: int) -> dict[int, bytes]:
    """The fields of a BundleEntryProto, by number, for tests to change."""
    data = values.astype("<f4").tobytes()
    return {
        1: field(1, FLOAT),
        2: field(2, shape_message(values.shape)),
        4: field(4, offset),
        5: field(5, len(data)),
        6: fixed(6, masked(slow_crc32c(data))),
    }


def write_bundle(
    prefix: Path,
    tensors: Mapping[str, np.ndarray],
    change: Callable[[str, dict[int, bytes]], None] | None = None,
    first: bytes | None = None,
) -> None:
    """Write ``tensors``; ``change`` may edit an entry's fields, ``first`` stands in for the header."""
    entries, data = {}, b""
    for name in sorted(tensors):
        entries[name] = entry(tensors[name], len(data))
        if change:
            change(name, entries[name])
        data += tensors[name].astype("<f4").tobytes()
    write_files(prefix, entries, data, first)


def write_files(prefix: Path, entries: Mapping[str, dict[int, bytes]], data: bytes, first: bytes | None = None) -> None:
    """Write an index of ``entries`` and one data file."""
    rows = [(name.encode(), b"".join(entries[name].values())) for name in sorted(entries)]
    index = table([(b"", header() if first is None else first), *rows])
    prefix.with_name(prefix.name + ".index").write_bytes(index)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


def placeholder(shape: tuple[int, ...]) -> bytes:
    """A NodeDef with a shape and a type."""
    shape_attribute = field(1, b"shape") + field(2, field(7, shape_message(shape)))
    type_attribute = field(1, b"dtype") + field(2, field(6, FLOAT))
    return field(1, b"input") + field(2, b"Placeholder") + field(5, type_attribute) + field(5, shape_attribute)


def meta(nodes: list[bytes]) -> bytes:
    """A MetaGraphDef."""
    return field(1, field(1, b"version")) + field(2, b"".join(field(1, node) for node in nodes))

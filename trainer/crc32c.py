"""CRC-32C, the checksum of LevelDB and TensorFlow, fast enough for weights files without compiled code."""

import functools

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

# Castagnoli's, lowest bit first.
_POLYNOMIAL = np.uint32(0x82F63B78)
# Bytes that take the state from all zeros to all ones, where a CRC-32C starts.
_START = bytes.fromhex("54641f64")
# Bytes per chunk: few enough that small tensors are quick, enough that joining the chunks of large ones is.
_CHUNK = 256


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C as LevelDB and TensorFlow store it: rotated and moved, so that CRCs of data with CRCs keep sense."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of ``data``, many short chunks at once."""
    chunks = -(-(len(_START) + len(data)) // _CHUNK)
    # Zeros in front leave the state at zero, and _START then takes it to the usual start of all ones.
    message = np.frombuffer((_START + data).rjust(chunks * _CHUNK, b"\0"), "<u2").reshape(chunks, -1)
    table = _crc_table()
    state = np.zeros(chunks, np.uint32)
    for words in np.ascontiguousarray(message.T):
        state = table[(state ^ words) & 0xFFFF] ^ (state >> 16)
    return int(_joined(state)) ^ 0xFFFFFFFF


@functools.cache
def _crc_table() -> Words:
    """uint32 [65536]: the state after 16 zero bits."""
    state = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(16):
        state = np.where(state & 1, (state >> 1) ^ _POLYNOMIAL, state >> 1).astype(np.uint32)
    return state


@functools.cache
def _crc_shift() -> Words:
    """uint32 [32]: what a chunk of zeros makes of each single bit of the state, which is linear over GF(2)."""
    state = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(_CHUNK // 2):
        state = _crc_table()[state & 0xFFFF] ^ (state >> 16)
    return state


def _joined(state: Words) -> np.uint32:
    """The state after all chunks, neighbours first."""
    shift = _crc_shift()
    while len(state) > 1:
        if len(state) % 2:
            state = np.concatenate([np.zeros(1, np.uint32), state])
        state = _shifted(shift, state[::2]) ^ state[1::2]
        shift = _shifted(shift, shift)
    return np.uint32(state[0])


def _shifted(shift: Words, state: Words) -> Words:
    result = np.zeros_like(state)
    for bit, column in enumerate(shift):
        result ^= column * (state >> bit & 1)
    return result

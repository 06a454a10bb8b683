"""The process that opens HDF5 files: the library in C that reads them may crash on a damaged one, or never end.

Started by ``hdf5_process.py``; one request after another comes in and is answered. Nothing of the project is imported,
so that it starts fast. After a file that was refused the process ends, and with it what the file may have left behind.
"""

import contextlib
import faulthandler
import io
import json
import math
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

# Seconds for one request, and for each megabyte of its file.
_SECONDS, _SECONDS_PER_MB = 20, 1
_LEAST_LIMIT = 1 << 24
# Poses compress well, most of all absent ones.
_MOST_EXPANSION = 200
_MOST_TEXT = 1 << 20


class RefusedError(ValueError):
    """The file does not hold what was asked for."""


def send(stream: IO[bytes], message: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """``message`` is what JSON can hold; no array may be named "message"."""
    content = io.BytesIO()
    text = np.frombuffer(json.dumps(message).encode(), np.uint8)
    np.savez(content, message=text, **arrays)
    with content.getbuffer() as view:
        stream.write(len(view).to_bytes(8, "little"))
        stream.write(view)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``send`` sent. Raises EOFError where the other side is gone, ValueError where it sent something else."""
    length = int.from_bytes(_exactly(stream, 8), "little")
    with np.load(io.BytesIO(_exactly(stream, length)), allow_pickle=False) as content:
        arrays = dict(content)
    return json.loads(arrays.pop("message").tobytes()), arrays


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise EOFError("the other process has ended")
    return data


def answer(request: Mapping[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Message and arrays for a request, which is one of

    * ``{"datasets": {name: dimensions}, "attribute": [data set, name] or None}``: those, and the names at the root;
    * ``{"write": True}``: the file with ``arrays[name]`` in place of the old values, as bytes in ``data``.

    ``arrays["data"]`` is the file, uint8. A refused one is answered by ``{"error": message}``.
    """
    data = arrays.pop("data").tobytes()
    try:
        return ({}, {"data": _written(data, arrays)}) if "write" in request else _read(data, request)
    except RefusedError as error:
        return {"error": str(error)}, {}
    # h5py has no error of its own; these are what it makes of the library's.
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        return {"error": f"not a valid HDF5 file ({str(error)[:100]})"}, {}


def _read(data: bytes, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    with _opened(io.BytesIO(data), "r") as file:
        found = {name: _values(file, name, number) for name, number in request["datasets"].items()}
        attribute = _attribute(file, *request["attribute"]) if request["attribute"] else None
        names = [name for name in file if isinstance(name, str)]
    texts = {name: values for name, values in found.items() if isinstance(values, list)}
    message = {"names": names, "texts": texts, "attribute": attribute}
    return message, {name: values for name, values in found.items() if name not in texts}


def _written(data: bytes, arrays: Mapping[str, Any]) -> Any:
    buffer = io.BytesIO(data)
    with _opened(buffer, "r+") as file:
        for name, array in arrays.items():
            file[name][...] = array
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _opened(buffer: io.BytesIO, mode: str) -> Any:
    import h5py

    return h5py.File(buffer, mode)


def _values(file: Any, name: str, dimensions: int) -> Any:
    """A data set's array, or the list of its strings; it must lie in the file itself and not claim to be huge."""
    dataset = file
    for part in name.split("/"):
        link = dataset.get(part, getlink=True) if hasattr(dataset, "keys") else None
        dataset = dataset[part] if type(link).__name__ == "HardLink" else None
    if type(dataset).__name__ != "Dataset" or dataset.external or dataset.is_virtual:
        raise RefusedError(f"expected a data set {name!r} within the file")
    if dataset.ndim != dimensions:
        raise RefusedError(f"{name} must have {dimensions} dimensions, got shape {list(dataset.shape)}")
    # A small file may claim to hold the world: what is not written counts as zeros, and chunks are read whole.
    stored = dataset.id.get_storage_size()
    claimed = max(dataset.nbytes, math.prod(dataset.chunks or ()) * dataset.dtype.itemsize)
    if claimed > max(_LEAST_LIMIT, _MOST_EXPANSION * stored):
        raise RefusedError(f"{name} claims {claimed} bytes, but {stored} are stored")
    if dataset.dtype.hasobject:
        return _strings(name, dataset)
    values = dataset[()]
    return [_text(value) for value in values.tolist()] if values.dtype.kind == "S" and dimensions == 1 else values


def _strings(name: str, dataset: Any) -> list[str]:
    """Strings of varying length, one by one: many may share the same long one in the file."""
    if dataset.ndim != 1 or (dataset.dtype.metadata or {}).get("vlen") not in (str, bytes):
        raise RefusedError(f"expected {name} to hold numbers or names, got {dataset.dtype}")
    found, length = [], 0
    for value in (dataset[place] for place in range(len(dataset))):
        found.append(_text(value))
        length += len(value)
        if length > _MOST_TEXT:
            raise RefusedError(f"{name} has more than {_MOST_TEXT} bytes of names")
    return found


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _attribute(file: Any, dataset: str, name: str) -> str | None:
    """A string; bytes as one of a character each; None for anything else."""
    value = file[dataset].attrs.get(name)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else None


@contextlib.contextmanager
def _limited(size: int) -> Iterator[None]:
    """Ends the process, wherever it is, where the block takes too long for a file of ``size`` bytes."""
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(_SECONDS + _SECONDS_PER_MB * (size >> 20), exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def main() -> None:
    """Answers requests from standard input until it ends, or a file was refused."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Ctrl-C goes to the whole group; the process that asks decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            request, arrays = receive(sys.stdin.buffer)
        except EOFError:
            return
        with _limited(len(arrays["data"])):
            message, found = answer(request, arrays)
        send(answers, message, found)
        if "error" in message:
            return


if __name__ == "__main__":
    main()

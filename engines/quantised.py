"""A network in INT8 as one safetensors file: OpenVINO's graph, its constants, and which weights it was made from."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engines.engine import EngineError

Bytes = npt.NDArray[np.uint8]
T = TypeVar("T")

_FORMAT = "posefix_track int8"


def write_quantised(path: Path, graph: bytes, constants: Bytes, facts: dict[str, str]) -> None:
    """Write atomically what ``engines.quantise`` made.

    Args:
        path: .safetensors.
        graph: OpenVINO's XML.
        constants: uint8 [N], what the graph refers to.
        facts: "weights_sha256" of the weights file that the network came from, and what else is worth keeping.
    """
    # The graph is text of 1 MB that packs into 50 kB.
    tensors = {"graph": np.frombuffer(zlib.compress(graph, 9), np.uint8), "constants": constants}
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, {"format": _FORMAT, **facts})
    temporary.replace(path)


def read_quantised(path: Path) -> tuple[bytes, Bytes]:
    """Graph and constants. Raises EngineError for a file that is damaged or not of this kind."""
    graph, constants = _read(path, lambda file: (file.get_tensor("graph"), file.get_tensor("constants")))
    try:
        return zlib.decompress(graph.tobytes()), constants
    except zlib.error as error:
        raise EngineError(f"{path}: damaged: {error}; make it anew") from error


def quantised_facts(path: Path) -> dict[str, str]:
    """What ``write_quantised`` was given. Raises EngineError for a file that is not of its kind."""
    return _read(path, lambda file: dict(file.metadata()))


def _read(path: Path, what: Callable[[Any], T]) -> T:
    try:
        with safe_open(path, framework="np") as file:
            if (file.metadata() or {}).get("format") != _FORMAT:
                raise EngineError(f"{path}: not a network in INT8 (its metadata does not say so)")
            return what(file)
    except (SafetensorError, OSError) as error:
        raise EngineError(f"{path}: not a readable safetensors file: {error}") from error

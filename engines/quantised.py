"""A network in INT8 as one safetensors file: OpenVINO's graph, its constants, and which weights it was made from."""

import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import openvino as ov
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engines.engine import EngineError

T = TypeVar("T")

_FORMAT = "posefix_track int8"


def write_quantised(model: ov.Model, path: Path, facts: dict[str, str]) -> None:
    """Write ``model`` atomically.

    Args:
        model: as ``engines.quantise`` made it.
        path: .safetensors.
        facts: "weights_sha256" of the weights file that the network came from, and what else is worth keeping.
    """
    graph, constants = _serialised(model)
    # The graph is text of 1 MB that packs into 50 kB.
    tensors = {"graph": np.frombuffer(zlib.compress(graph, 9), np.uint8), "constants": constants}
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, {"format": _FORMAT, **facts})
    temporary.replace(path)


def quantised_facts(path: Path) -> dict[str, str]:
    """What ``write_quantised`` was given. Raises EngineError for a file that is not of its kind."""
    return _read(path, _metadata)


def read_quantised(core: ov.Core, path: Path) -> ov.Model:
    """The model, ready to compile. Raises EngineError for a file that is damaged or not of this kind."""
    graph, constants = _read(path, _tensors)
    try:
        return core.read_model(zlib.decompress(graph.tobytes()), ov.Tensor(constants))
    except (RuntimeError, zlib.error) as error:
        raise EngineError(f"{path}: OpenVINO {ov.__version__} cannot read it; make it anew: {error}") from error


def _serialised(model: ov.Model) -> tuple[bytes, npt.NDArray[np.uint8]]:
    with tempfile.TemporaryDirectory() as folder:
        graph, constants = Path(folder, "graph.xml"), Path(folder, "constants.bin")
        ov.serialize(model, graph, constants)
        return graph.read_bytes(), np.fromfile(constants, np.uint8)


def _metadata(file: Any) -> dict[str, str]:
    return dict(file.metadata())


def _tensors(file: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    return file.get_tensor("graph"), file.get_tensor("constants")


def _read(path: Path, what: Callable[[Any], T]) -> T:
    try:
        with safe_open(path, framework="np") as file:
            if (file.metadata() or {}).get("format") != _FORMAT:
                raise EngineError(f"{path}: not a network in INT8 (its metadata does not say so)")
            return what(file)
    except (SafetensorError, OSError) as error:
        raise EngineError(f"{path}: not a readable safetensors file: {error}") from error

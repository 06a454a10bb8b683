"""Post-training quantisation with NNCF: the network's convolutions in INT8, everything else in FP32."""

import importlib
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino.passes import ConstantFolding, Manager
from torch import nn

from engines.engine import EngineError
from engines.folding import folded
from engines.openvino_engine import example_inputs, to_openvino

_TELEMETRY = "openvino_telemetry"

Inputs = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def quantise(
    network: nn.Module,
    input_size: tuple[int, int],
    joints: int,
    batches: Sequence[Inputs],
    parts: Sequence[str] = ("backbone", "head"),
    exact: Sequence[str] = ("head.final",),
) -> ov.Model:
    """Turn ``network`` into an OpenVINO model that computes in INT8.

    Weights are symmetric per channel, activations symmetric (NNCF's "performance" preset): with zero points OpenVINO
    would run transposed convolutions in FP32. Biases are corrected for the mean error that rounding brings in.

    Args:
        network: in evaluation mode.
        input_size: (height, width) of the images.
        joints: K.
        batches: typical inputs, a few hundred rows in all; their activations set the ranges.
        parts: submodules whose layers are quantised. Coordinates, heatmaps and the like are left alone: 256 levels are
            too few for a sub-pixel position.
        exact: layers within ``parts`` that stay in FP32.

    Raises:
        EngineError: NNCF is not installed.
    """
    nncf = _nncf()
    outside = "|".join(part.replace(".", r"\.") for part in parts)
    patterns = [rf"^(?!__module\.({outside})[./]).*", *(rf"^__module\.{layer}[./].*" for layer in exact)]
    data = nncf.Dataset(batches, lambda batch: [batch[0], batch[1], batch[2].astype(np.float32)])
    return nncf.quantize(
        _with_plain_biases(network, input_size, joints),
        data,
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(batches),
        ignored_scope=nncf.IgnoredScope(patterns=patterns, validate=False),
    )


def _with_plain_biases(network: nn.Module, input_size: tuple[int, int], joints: int) -> ov.Model:
    """The model as NNCF wants it: it corrects biases only where a convolution is followed by a constant."""
    model = to_openvino(folded(network, example_inputs(input_size, joints)), input_size, joints)
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


def serialised(model: ov.Model) -> tuple[bytes, npt.NDArray[np.uint8]]:
    """Graph and constants, as ``engines.quantised`` stores them."""
    with tempfile.TemporaryDirectory() as folder:
        graph, constants = Path(folder, "graph.xml"), Path(folder, "constants.bin")
        ov.serialize(model, graph, constants)
        return graph.read_bytes(), np.fromfile(constants, np.uint8)


def _nncf() -> ModuleType:
    """NNCF without its reports over the network, which it leaves out where their sender cannot be imported."""
    sender = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        nncf = importlib.import_module("nncf")
    except ImportError as error:
        raise EngineError("quantisation needs NNCF: pip install posefix_track[int8]") from error
    finally:
        del sys.modules[_TELEMETRY]
        if sender is not None:
            sys.modules[_TELEMETRY] = sender
    logging.getLogger("nncf").setLevel(logging.WARNING)
    return nncf

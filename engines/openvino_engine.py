"""OpenVINO on the CPU: the same graph, compiled, with a dynamic batch, in FP32, BF16 or INT8."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import nn

from engines.engine import EngineError
from engines.quantised import read_quantised

Float = npt.NDArray[np.float32]

# INT8 computes what is left in floating point in FP32.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoEngine:
    """Runs on all cores; one request at a time uses them all.

    Args:
        network: in evaluation mode.
        input_size: (height, width) of the images.
        joints: K.
        precision: "fp32", "bf16", "int8", or "auto" for INT8 where ``quantised`` is given and else FP32.
        quantised: file of ``engines.quantise`` made from this network.
        max_batch: rows that are worth collecting for one call.

    Raises:
        EngineError: a precision that this processor, or the network as it was given, does not have.
    """

    def __init__(
        self,
        network: nn.Module,
        input_size: tuple[int, int],
        joints: int,
        precision: str = "auto",
        quantised: Path | None = None,
        max_batch: int = 8,
    ) -> None:
        core = ov.Core()
        precision = _precision(core, precision, quantised)
        if precision == "int8" and quantised is not None:
            model = _read_model(core, quantised)
        else:
            model = to_openvino(network, input_size, joints)
        # The precision is asked for by name: newer CPUs would otherwise silently run BF16.
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _HINTS[precision]}
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self.name = f"openvino cpu {precision}"
        self.max_batch = max_batch

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        """See Engine."""
        inputs = [np.ascontiguousarray(a) for a in (images, keypoints, present.astype(np.float32))]
        refined, similarity = self._request.infer(inputs).to_tuple()
        return np.array(refined), np.array(similarity)


def _precision(core: ov.Core, precision: str, quantised: Path | None) -> str:
    if precision == "auto":
        return "int8" if quantised is not None else "fp32"
    if precision not in _HINTS:
        raise EngineError(f"the openvino engine has no precision {precision!r}; it has {', '.join(_HINTS)}")
    if precision == "int8" and quantised is None:
        raise EngineError("no INT8 form of these weights was found; make it with `posefix-track quantise`")
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EngineError("this processor has no BF16 instructions and would be slower for it; use precision fp32")
    return precision


def _read_model(core: ov.Core, path: Path) -> ov.Model:
    graph, constants = read_quantised(path)
    try:
        return core.read_model(graph, ov.Tensor(constants))
    except RuntimeError as error:
        raise EngineError(f"{path}: OpenVINO {ov.__version__} cannot read it; make it anew: {error}") from error


def to_openvino(network: nn.Module, input_size: tuple[int, int], joints: int) -> ov.Model:
    """The traced network as an OpenVINO model with a dynamic batch.

    Goes to the PyTorch front end directly: ``ov.convert_model`` would report its use over the network.
    """
    example = example_inputs(input_size, joints)
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracer's remarks on Python numbers in the graph: all of them are constants of the config.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=example)  # must outlive the conversion
    model = front_end.convert(front_end.load(decoder))
    types = (np.uint8, np.float32, np.float32)
    for port, tensor, kind in zip(model.inputs, example, types, strict=True):
        node = port.get_node()
        node.set_element_type(ov.Type(kind))
        node.set_partial_shape(ov.PartialShape([-1, *tensor.shape[1:]]))
    model.validate_nodes_and_infer_types()
    return model


def example_inputs(input_size: tuple[int, int], joints: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Black crops of two people, for tracing."""
    images = torch.zeros((2, *input_size, 3), dtype=torch.uint8)
    return images, torch.ones((2, joints, 2)), torch.ones((2, joints))

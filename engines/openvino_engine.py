"""OpenVINO on the CPU: the same graph, compiled, with a dynamic batch, in FP32, BF16 or INT8."""

import warnings
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

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

# Rows a stream is given: fewer leave it idle between layers, more gain nothing; and the most that it is given at once.
_ROWS, _MOST_ROWS = 4, 8
# INT8 computes what is left in floating point in FP32.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoEngine:
    """Runs on all cores, in as many streams as OpenVINO thinks best; the rows of a call are divided among them.

    Cores that each compute other rows need not wait for each other after every layer.

    Args:
        network: in evaluation mode.
        input_size: (height, width) of the images.
        joints: K.
        precision: "fp32", "bf16", "int8", or "auto" for INT8 where ``quantised`` is given and else FP32.
        quantised: file of ``engines.quantise`` made from this network.

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
    ) -> None:
        core = ov.Core()
        precision = _precision(core, precision, quantised)
        if precision == "int8" and quantised is not None:
            model = _read_model(core, quantised)
        else:
            model = to_openvino(network, input_size, joints)
        # The precision is asked for by name: newer CPUs would otherwise silently run BF16.
        settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": _HINTS[precision]}
        compiled = core.compile_model(model, "CPU", settings)
        self._streams = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # As many again, so that a stream has the next rows when it is done with some.
        self._requests = cycle([_Request(compiled) for _ in range(2 * self._streams)])
        self.name = f"openvino cpu {precision}"
        self.max_batch = _ROWS * self._streams

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        """See Engine."""
        return self.start(images, keypoints, present)()

    def start(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> Callable[[], tuple[Float, Float]]:
        """See AsynchronousEngine."""
        columns = images, keypoints, present.astype(np.float32)
        parts = max(-(-len(images) // _MOST_ROWS), min(self._streams, len(images)))
        jobs = [
            next(self._requests).start([np.ascontiguousarray(column) for column in rows])
            for rows in zip(*(np.array_split(column, parts) for column in columns), strict=True)
        ]
        return lambda: _joined([job() for job in jobs])


class _Request:
    """An inference that runs while its caller does something else."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._last: _Job | None = None

    def start(self, inputs: list[npt.NDArray[Any]]) -> "_Job":
        """Begin another run, after the one under way."""
        if self._last is not None:
            self._last()
        self._last = _Job(self._request, inputs)
        return self._last


class _Job:
    """One run; called, it waits and gives the outputs."""

    def __init__(self, request: ov.InferRequest, inputs: list[npt.NDArray[Any]]) -> None:
        # Inputs are read while the run lasts, and must last as long.
        self._request, self._inputs = request, inputs
        self._outputs: tuple[Float, Float] | None = None
        request.start_async(inputs, share_inputs=True)

    def __call__(self) -> tuple[Float, Float]:
        if self._outputs is None:
            self._request.wait()
            # Copies: the next run overwrites the request's.
            refined, similarity = (np.array(output) for output in self._request.results.to_tuple())
            self._outputs, self._inputs = (refined, similarity), []
        return self._outputs


def _joined(parts: list[tuple[Float, Float]]) -> tuple[Float, Float]:
    return np.concatenate([refined for refined, _ in parts]), np.concatenate([similar for _, similar in parts])


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

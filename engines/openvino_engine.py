"""OpenVINO on the CPU: the same graph, compiled, with a dynamic batch."""

import warnings

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import nn

Float = npt.NDArray[np.float32]


class OpenVinoEngine:
    """FP32 on all cores; one request at a time uses them all."""

    def __init__(self, network: nn.Module, input_size: tuple[int, int], joints: int, max_batch: int = 8) -> None:
        model = _converted(network, input_size, joints)
        # FP32 is asked for by name: newer CPUs would otherwise silently run BF16.
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self._request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
        self.name = "openvino cpu fp32"
        self.max_batch = max_batch

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        """See Engine."""
        inputs = [np.ascontiguousarray(a) for a in (images, keypoints, present.astype(np.float32))]
        refined, similarity = self._request.infer(inputs).to_tuple()
        return np.array(refined), np.array(similarity)


def _converted(network: nn.Module, input_size: tuple[int, int], joints: int) -> ov.Model:
    """The traced network as an OpenVINO model with a dynamic batch.

    Goes to the PyTorch front end directly: ``ov.convert_model`` would report its use over the network.
    """
    height, width = input_size
    shapes = [(2, height, width, 3), (2, joints, 2), (2, joints)]
    example = (torch.zeros(shapes[0], dtype=torch.uint8), torch.ones(shapes[1]), torch.ones(shapes[2]))
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracer's remarks on Python numbers in the graph: all of them are constants of the config.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=example)  # must outlive the conversion
    model = front_end.convert(front_end.load(decoder))
    types = (np.uint8, np.float32, np.float32)
    for port, shape, kind in zip(model.inputs, shapes, types, strict=True):
        node = port.get_node()
        node.set_element_type(ov.Type(kind))
        node.set_partial_shape(ov.PartialShape([-1, *shape[1:]]))
    model.validate_nodes_and_infer_types()
    return model

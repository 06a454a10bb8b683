"""Networks as ONNX: for the TensorRT builder, and for people with a runtime of their own.

Precision is part of the graph: in FP16 the convolutions are half precision, while Gaussians, softmax, coordinates and
everything that is computed from them stay in FP32. Builders of strongly typed networks keep it that way.

    inputs    images       uint8 [batch, H, W, 3], BGR crops
              keypoints    float32 [batch, K, 2], input pose in crop pixels; anything finite where absent
              present      float32 [batch, K], 1 where the input has the joint, else 0
    outputs   refined      float32 [batch, K, 2], crop pixels
              expected_ks  float32 [batch, K, 2], expected keypoint similarity of the refined and of the input joint;
                           NaN for networks that do not predict it
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from engines.engine import EngineError
from engines.folding import folded, half_convolutions

INPUTS = ("images", "keypoints", "present")
OUTPUTS = ("refined", "expected_ks")
MAX_BATCH = 64
PRECISIONS = ("fp32", "fp16")
_OPSET = 20


class _Typed(nn.Module):
    """TensorRT takes uint8 only into a cast, so that the pixels become floating point before anything else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, keypoints: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """See INPUTS and OUTPUTS."""
        refined, similarity = self.network(images.float(), keypoints, present)
        return refined, similarity


def exported(
    network: nn.Module, input_size: tuple[int, int], joints: int, precision: str, max_batch: int = MAX_BATCH
) -> ExportedProgram:
    """The network without batch norms, typed, for any batch of 1 to ``max_batch`` rows; on the CPU.

    Args:
        network: forward takes images, keypoints, present; it is left as it is.
        input_size: (height, width) of the images.
        joints: K.
        precision: one of PRECISIONS.

    Raises:
        EngineError: another precision.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"a plan or ONNX file has precision {' or '.join(PRECISIONS)}, got {precision!r}")
    # torch.export takes a batch of one for a constant.
    example = blank(2, input_size, joints)
    place = next(network.parameters()).device
    # The copy goes to the CPU, not the caller's network.
    ready = folded(_Typed(network), tuple(column.to(place) for column in example)).cpu()
    if precision == "fp16":
        half_convolutions(ready)
    batch = Dim("batch", min=1, max=max_batch)
    with torch.no_grad():
        return torch.export.export(ready, example, dynamic_shapes=({0: batch}, {0: batch}, {0: batch}))


def blank(rows: int, input_size: tuple[int, int], joints: int) -> tuple[Tensor, Tensor, Tensor]:
    """Black images without people."""
    return (
        torch.zeros((rows, *input_size, 3), dtype=torch.uint8),
        torch.zeros((rows, joints, 2)),
        torch.zeros((rows, joints)),
    )


def to_onnx(program: ExportedProgram) -> bytes:
    """An exported program as one ONNX file, weights included.

    Raises:
        EngineError: the packages for it are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise EngineError(f"ONNX needs {error.name}; run `pip install 'posefix_track[onnx]'`") from error
    with _quiet():
        made = torch.onnx.export(
            program, dynamo=True, opset_version=_OPSET, input_names=INPUTS, output_names=OUTPUTS, verbose=False
        )
    if made is None:
        raise EngineError("torch.onnx made no model of the network; use another engine")
    model = made.model_proto
    _name_batch(model)
    data: bytes = model.SerializeToString()
    return data


def _name_batch(model: Any) -> None:
    """The only dimension without a number is the batch; the exporter calls it s34 or the like."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "batch"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that this network does not need and on torch's own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

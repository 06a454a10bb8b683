"""Which number type every operation of an ONNX model computes in."""

from collections import Counter
from typing import Any

from engines.engine import EngineError

# Where half precision costs a tenth of a pixel or more: probabilities, sums over them, coordinates, exponentials.
_FP32 = ("Softmax", "Exp", "ReduceSum", "ReduceMax", "ReduceMean", "ReduceL2", "MatMul", "Gemm", "Sigmoid", "Sqrt")
_BODY = ("Conv", "ConvTranspose")


def node_types(model: bytes) -> dict[str, Counter[str]]:
    """Operation -> how many of its nodes have which type of output: {"Conv": {"float16": 55}, ...}."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True).graph
    kinds = {value.name: _kind(value) for value in (*graph.value_info, *graph.output)}
    found: dict[str, Counter[str]] = {}
    for node in graph.node:
        found.setdefault(node.op_type, Counter())[kinds.get(node.output[0], "unknown")] += 1
    return found


def check_types(model: bytes, precision: str) -> dict[str, Counter[str]]:
    """``node_types``, after making sure that convolutions compute in ``precision`` and coordinates in FP32.

    Raises:
        EngineError: an operation in the wrong type, which would show as coordinates that are off.
    """
    found = node_types(model)
    body = {"fp16": "float16", "fp32": "float32"}[precision]
    expected = {**dict.fromkeys(_FP32, "float32"), **dict.fromkeys(_BODY, body)}
    wrong = {op: dict(kinds) for op, kinds in found.items() if op in expected and set(kinds) != {expected[op]}}
    if wrong:
        raise EngineError(f"the exported network has operations in the wrong precision for {precision}: {wrong}")
    return found


def _kind(value: Any) -> str:
    import onnx

    kind = value.type.tensor_type.elem_type
    return {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.FLOAT16: "float16"}.get(kind, "other")

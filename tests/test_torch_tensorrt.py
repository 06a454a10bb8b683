"""The way through torch_tensorrt, which cannot be imported without CUDA: what it is asked for, and when it is not."""

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engines.tensorrt_build import build_plan
from engines.tensorrt_library import Library

SHAPES = {"images": (32, 64, 3), "keypoints": (6, 2), "present": (6,)}
KINDS = {"images": torch.uint8, "keypoints": torch.float32, "present": torch.float32}


def program() -> Any:
    """As much of an exported program as is looked at: a weight, three inputs, an operation."""
    values = {name: torch.zeros(2, *shape, dtype=KINDS[name]) for name, shape in SHAPES.items()}
    inputs = [SimpleNamespace(op="placeholder", name=name, meta={"val": value}) for name, value in values.items()]
    weight = SimpleNamespace(op="placeholder", name="p_weight", meta={"val": torch.zeros(3)})
    add = SimpleNamespace(op="call_function", name="add", meta={})
    return SimpleNamespace(
        graph=SimpleNamespace(nodes=[weight, *inputs, add]), graph_signature=SimpleNamespace(user_inputs=(*SHAPES,))
    )


class FakeTorchTensorRt(SimpleNamespace):
    def __init__(self, for_rtx: bool, fails: bool = False) -> None:
        self.asked: list[dict[str, Any]] = []
        convert = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=self.convert)
        features = SimpleNamespace(tensorrt_rtx=for_rtx)
        super().__init__(ENABLED_FEATURES=features, Input=lambda **given: given, dynamo=convert, fails=fails)

    def convert(self, program: object, **options: Any) -> bytes:
        if self.fails:
            raise RuntimeError("no converter for aten.example")
        self.asked.append(options)
        return b"plan by torch_tensorrt"


@pytest.fixture
def by_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.tensorrt_build.to_onnx", lambda program: b"model")
    monkeypatch.setattr("engines.tensorrt_build.check_types", lambda model, precision: {})
    monkeypatch.setattr("engines.tensorrt_build.plan_from_onnx", lambda library, model: b"plan by onnx")


def built(monkeypatch: pytest.MonkeyPatch, module: object, library: str = "tensorrt") -> tuple[bytes, str]:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", module)
    return build_plan(Library(library, SimpleNamespace(), "10.15.1.29"), program(), "fp16")


def test_torch_tensorrt_is_asked_for_all_batches_and_no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    module = FakeTorchTensorRt(for_rtx=False)
    assert built(monkeypatch, module) == (b"plan by torch_tensorrt", "torch_tensorrt")
    (options,) = module.asked
    assert [(i["min_shape"], i["opt_shape"], i["max_shape"], i["dtype"]) for i in options.pop("arg_inputs")] == [
        ((1, *shape), (32, *shape), (64, *shape), KINDS[name]) for name, shape in SHAPES.items()
    ]
    # Nothing about precision: it is in the graph, and TensorRT 11 knows no such options.
    assert options == {"disable_tf32": True, "truncate_double": True, "require_full_compilation": True}


@pytest.mark.parametrize(("for_rtx", "library"), [(True, "tensorrt"), (False, "tensorrt-rtx")])
def test_a_torch_tensorrt_for_the_other_library_is_not_used(
    monkeypatch: pytest.MonkeyPatch, by_onnx: None, for_rtx: bool, library: str
) -> None:
    assert built(monkeypatch, FakeTorchTensorRt(for_rtx), library) == (b"plan by onnx", "onnx")


def test_without_torch_tensorrt_plans_are_built_through_onnx(monkeypatch: pytest.MonkeyPatch, by_onnx: None) -> None:
    assert built(monkeypatch, None) == (b"plan by onnx", "onnx")


def test_a_network_that_torch_tensorrt_refuses_goes_through_onnx_and_says_why(
    monkeypatch: pytest.MonkeyPatch, by_onnx: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert built(monkeypatch, FakeTorchTensorRt(for_rtx=False, fails=True)) == (b"plan by onnx", "onnx")
    assert "no converter for aten.example" in caplog.text

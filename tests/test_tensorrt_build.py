"""Plans really built by TensorRT for RTX, which needs no GPU for it."""

import logging
from pathlib import Path

import pytest
import torch

from engines import __main__ as command
from engines.engine import EngineError
from engines.onnx_export import exported, to_onnx
from engines.plan_cache import PlanCache
from engines.tensorrt_build import build_plan, plan_from_onnx
from engines.tensorrt_engine import stored_plan
from engines.tensorrt_library import Library, library_logger, load_library
from posefix_track.network import NetworkConfig, PoseFix
from tests.toy_network import JOINTS, SIZE, ToyNetwork

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt-rtx")


@pytest.fixture(scope="module")
def models() -> dict[str, bytes]:
    network = ToyNetwork().eval()
    return {precision: to_onnx(exported(network, SIZE, JOINTS, precision)) for precision in ("fp32", "fp16")}


def test_the_library_says_which_one_it_is(library: Library) -> None:
    assert library.name == "tensorrt-rtx" and library.version.count(".") == 3 and library.portable


def test_the_whole_network_is_built_in_fp16(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    network = PoseFix(NetworkConfig("resnet18", input_size=SIZE, head_channels=(8, 8, 8))).eval()
    weights = sum(p.numel() for p in network.parameters())
    with caplog.at_level(logging.INFO, logger="engines"):
        plan, way = build_plan(library, exported(network, SIZE, 19, "fp16"), "fp16")
    # Two bytes a weight, and not much else: FP32 would be four.
    assert 2 * weights < len(plan) < 3 * weights
    assert way == "onnx" and "built a plan of" in caplog.text


def test_an_fp32_plan_is_built_too_and_differs_and_the_log_tells_how_far_it_is(
    library: Library, models: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engines.tensorrt_build._SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, logger="engines"):
        plans = {precision: plan_from_onnx(library, model) for precision, model in models.items()}
    assert len(plans["fp32"]) > 1000 < len(plans["fp16"]) and plans["fp32"] != plans["fp16"]
    assert ", step 1 of " in caplog.text


def test_the_parsed_network_is_strongly_typed(library: Library, models: dict[str, bytes]) -> None:
    trt, logger = library.module, library_logger(library)
    network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, logger).parse(models["fp16"]), logger.errors
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    types = {(layer.type.name, layer.get_output(0).dtype.name) for layer in layers}
    assert {("CONVOLUTION", "HALF"), ("DECONVOLUTION", "HALF"), ("SOFTMAX", "FLOAT"), ("REDUCE", "FLOAT")} <= types
    assert not {("CONVOLUTION", "FLOAT"), ("DECONVOLUTION", "FLOAT"), ("SOFTMAX", "HALF"), ("REDUCE", "HALF")} & types
    assert [network.get_output(i).dtype for i in range(network.num_outputs)] == [trt.float32] * 2


def test_what_is_no_network_is_refused_with_the_librarys_words(library: Library) -> None:
    with pytest.raises(EngineError, match=r"tensorrt-rtx 1\.\S+ cannot read the network: \S+"):
        plan_from_onnx(library, b"no model")


def test_a_profile_that_does_not_fit_is_refused(library: Library, models: dict[str, bytes]) -> None:
    with pytest.raises(EngineError, match=r"cannot build the network \(\S+"):
        plan_from_onnx(library, models["fp16"], (8, 4, 2))


def test_plans_for_any_gpu_are_cached_without_one(library: Library, tmp_path: Path) -> None:
    cache, network = PlanCache(tmp_path / "plans"), ToyNetwork().eval()
    first = stored_plan(cache, library, network, SIZE, JOINTS, "fp16", None)
    assert stored_plan(cache, library, network, SIZE, JOINTS, "fp16", None) == first
    assert first.notes["key"]["gpu"] == "any" and first.notes["key"]["library_version"] == library.version
    assert first.notes["built_by"] == "onnx" and first.notes["build_seconds"] > 0


def test_a_plan_is_not_loaded_where_there_is_no_gpu(
    library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["build", "--engine", "tensorrt-rtx"]) == 5
    assert "torch sees no CUDA device" in capsys.readouterr().err

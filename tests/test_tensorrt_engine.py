import importlib.util
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engines import compile_engine
from engines.engine import EngineError
from engines.golden import golden_inputs, parity
from engines.plan_cache import PlanCache
from engines.tensorrt_engine import TensorRtEngine
from engines.tensorrt_library import LIBRARIES, Library, load_library
from engines.torch_engine import BUCKETS
from tests.fake_tensorrt import FakeGraph, FakeTensorRt
from tests.toy_network import JOINTS, SIZE, ToyNetwork, toy_inputs, toy_outputs

# Crop pixels; kernels for other batch sizes sum in another order.
BATCHES_AGREE_PX = 0.05
# Crop pixels at the 99th percentile, what half precision may cost.
HALF_PX = 0.25


@pytest.fixture(scope="module")
def network() -> ToyNetwork:
    return ToyNetwork().eval()


@pytest.fixture
def builds() -> list[str]:
    """Precisions that plans were built in."""
    return []


@pytest.fixture
def trt(network: ToyNetwork, builds: list[str], monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    """A TensorRT that runs ``network`` on the CPU, and a torch that thinks it has a GPU."""
    fake = FakeTensorRt(network)

    def build(library: Library, program: object, precision: str) -> tuple[bytes, str]:
        builds.append(precision)
        return f"plan in {precision}".encode(), "fake"

    monkeypatch.setattr("engines.tensorrt_engine.load_library", lambda name: Library(name, fake, fake.__version__))
    monkeypatch.setattr("engines.tensorrt_engine.build_plan", build)
    monkeypatch.setattr("engines.tensorrt_engine.exported", lambda *_: None)
    monkeypatch.setattr("engines.tensorrt_engine.CudaGraph", FakeGraph)
    monkeypatch.setattr("engines.tensorrt_engine.device_named", lambda name: torch.device("cpu"))
    gpu = SimpleNamespace(name="NVIDIA H200", major=9, minor=0, multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpu.name)
    monkeypatch.setattr("engines.tensorrt_engine.GraphMemory", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=7))
    return fake


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "plans")


def engine(network: ToyNetwork, cache: PlanCache, **options: Any) -> TensorRtEngine:
    return TensorRtEngine(network, SIZE, JOINTS, "cuda", cache=cache, **options)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 31, 33, 64, 65, 130])
def test_every_row_of_every_batch_is_computed_and_no_other(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache, batch: int
) -> None:
    run = engine(network, cache)
    run(*toy_inputs(64, seed=9))  # what fills the rows up
    found, expected = run(*toy_inputs(batch)), toy_outputs(network, toy_inputs(batch))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=1e-3)  # float32 sums in another order


def test_batches_are_filled_up_to_the_next_bucket_on_the_current_stream(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache
) -> None:
    run = engine(network, cache)
    trt.calls.clear()
    for batch in (5, 17, 64, 70):
        run(*toy_inputs(batch))
    # A bucket's first run is recorded after one for warming up; 8 and 64 were recorded when the plan was checked.
    assert [size for size, _, _ in trt.calls] == [8, 24, 24, 64, 64, 8]
    assert {stream for _, stream, _ in trt.calls} == {7}


def test_every_context_has_the_workspace_that_its_batch_needs(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache
) -> None:
    run = engine(network, cache)
    for size in BUCKETS:
        run(*toy_inputs(size))
    assert all(workspace >= 1000 * size for size, _, workspace in trt.calls)


def test_a_plan_is_built_once_and_says_so(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache, builds: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first = engine(network, cache)
        second = engine(network, cache)
    assert builds == ["fp16"] and trt.deserialised == [b"plan in fp16"] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "building a tensorrt fp16 plan for NVIDIA H200, once; this may take minutes"
    ]
    assert first.name == "tensorrt cuda fp16" and second.plan == first.plan
    assert first.plan.notes["built_by"] == "fake" and first.plan.notes["key"]["sm"] == "9.0"


def test_another_network_precision_or_size_is_another_plan(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache, builds: list[str]
) -> None:
    engine(network, cache)
    trt.network = ToyNetwork(seed=1).eval()
    engine(trt.network, cache)
    engine(trt.network, cache, precision="fp32")
    assert builds == ["fp16", "fp16", "fp32"] and len(cache.list()) == 3


def test_a_plan_shows_on_golden_inputs_what_it_computes(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache
) -> None:
    run = engine(network, cache)
    assert run.parity.max_px < 1e-3 and run.parity.rows_px < 1e-3 and run.parity.batches == (1, 8, 64)
    assert run.plan.notes["parity"] == {"NVIDIA H200": run.parity.to_dict()}
    expected, _ = toy_outputs(network, golden_inputs(SIZE, JOINTS))
    np.testing.assert_allclose(run.plan.notes["golden"], expected, atol=1e-3)


def test_a_plan_that_computes_something_else_is_refused(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache
) -> None:
    engine(network, cache)
    trt.network = ToyNetwork(seed=1).eval()  # the same bytes no longer do the same
    with pytest.raises(EngineError, match=r"px off the FP32 network in the median on golden inputs; clear its plan"):
        engine(network, cache)


def test_nan_results_are_refused(trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache) -> None:
    trt.network = lambda images, keypoints, present: (keypoints * np.nan, keypoints)
    with pytest.raises(EngineError, match="nan px off"):
        engine(network, cache)


def test_parity_sees_rows_that_depend_on_their_place(network: ToyNetwork) -> None:
    """TensorRT issue 4813: equal rows of one batch with different results."""

    def run(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        refined, similarity = toy_outputs(network, columns)  # type: ignore[arg-type]
        refined[1::64] += 3
        return refined, similarity

    inputs = golden_inputs(SIZE, JOINTS)
    measured = parity(run, inputs, toy_outputs(network, inputs)[0], (1, 64))  # type: ignore[arg-type]
    assert measured.median_px < 1e-3 and measured.rows_px == pytest.approx(3, abs=1e-3)


def test_a_plan_that_the_library_refuses_is_an_error_with_its_words(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache
) -> None:
    trt.refuses = True
    with pytest.raises(EngineError, match=r"cannot load the plan on NVIDIA H200: The engine plan file is generated"):
        engine(network, cache)


def test_a_plan_without_a_context_is_an_error(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fake_tensorrt.FakeEngine.create_execution_context", lambda *_: None)
    with pytest.raises(EngineError, match="the plan does not run in batches of 1: it gave no reason"):
        engine(network, cache)


def test_a_failed_run_is_an_error(trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache) -> None:
    trt.fails = True
    with pytest.raises(EngineError, match="TensorRT did not run the plan"):
        engine(network, cache)


def test_half_precision_outputs_are_refused(trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache) -> None:
    trt.output_type = "half"
    with pytest.raises(EngineError, match="gives refined as half, not as float32"):
        engine(network, cache)


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_precision_that_plans_lack_is_refused(
    trt: FakeTensorRt, network: ToyNetwork, cache: PlanCache, precision: str
) -> None:
    with pytest.raises(EngineError, match=f"no precision '{precision}'; it has fp32, fp16"):
        engine(network, cache, precision=precision)


def test_a_cpu_is_refused(network: ToyNetwork) -> None:
    with pytest.raises(EngineError, match="runs on NVIDIA GPUs, got device 'cpu'"):
        compile_engine(network, SIZE, JOINTS, "tensorrt", "cpu")


@pytest.mark.parametrize("name", LIBRARIES)
def test_no_gpu_is_an_error_that_says_why(network: ToyNetwork, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="torch sees no CUDA device"):
        compile_engine(network, SIZE, JOINTS, name)


@pytest.mark.parametrize(("name", "package"), [("tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx")])
def test_a_missing_library_is_an_error_that_says_what_to_install(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(EngineError, match=rf"needs the package .*pip install 'posefix_track\[{name}\]'"):
        load_library(name)


def test_a_library_that_does_not_load_is_an_error_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tensorrt.py").write_text("raise Exception('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "tensorrt", raising=False)
    with pytest.raises(EngineError, match=r"tensorrt library cannot be loaded \(libnvinfer.so.10: cannot open"):
        load_library("tensorrt")


def compiled_by_auto(monkeypatch: pytest.MonkeyPatch, installed: bool, works: bool) -> str:
    """What "auto" takes on a machine with a GPU."""

    def tensorrt(*_: object) -> SimpleNamespace:
        if not works:
            raise EngineError("libnvinfer_builder_resource is missing")
        return SimpleNamespace(name="tensorrt")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr("engines.tensorrt_engine.TensorRtEngine", tensorrt)
    monkeypatch.setattr("engines.torch_engine.TorchEngine", lambda *_: SimpleNamespace(name="torch"))
    return compile_engine(ToyNetwork(), SIZE, JOINTS).name


def test_auto_takes_tensorrt_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled_by_auto(monkeypatch, installed=True, works=True) == "tensorrt"
    assert compiled_by_auto(monkeypatch, installed=False, works=True) == "torch"


def test_auto_goes_on_with_torch_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert compiled_by_auto(monkeypatch, installed=True, works=False) == "torch"
    assert "going on with torch in place of tensorrt: libnvinfer_builder_resource is missing" in caplog.text


@pytest.fixture(scope="module", params=LIBRARIES)
def real_engine(network: ToyNetwork, request: pytest.FixtureRequest, tmp_path_factory: Any) -> TensorRtEngine:
    """On real hardware."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if importlib.util.find_spec(LIBRARIES[request.param][0]) is None:
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp("cache") / "plans"
    return TensorRtEngine(network, SIZE, JOINTS, library=request.param, cache=PlanCache(folder))


def test_every_row_of_every_bucket_is_what_it_is_alone_and_near_fp32(
    real_engine: TensorRtEngine, network: ToyNetwork
) -> None:
    columns = toy_inputs(64)
    alone = np.concatenate([real_engine(*(c[i : i + 1] for c in columns))[0] for i in range(64)])
    for bucket in BUCKETS:
        together, _ = real_engine(*(column[:bucket] for column in columns))
        assert np.abs(together - alone[:bucket]).max() <= BATCHES_AGREE_PX
    distance = np.linalg.norm(alone - toy_outputs(network, columns)[0], axis=-1)
    assert 0 < np.quantile(distance, 0.99) <= HALF_PX

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from engines import __main__ as command
from engines.plan_cache import PlanCache
from engines.tensorrt_engine import TensorRtEngine
from posefix_track.errors import InputError
from tests.test_plan_cache import KEY
from tests.toy_network import JOINTS, SIZE, ToyNetwork

HERE = ["--subject", f"{__name__}:toy"]


@dataclass
class Toy:
    network: nn.Module = field(default_factory=lambda: ToyNetwork().eval())
    input_size: tuple[int, int] = SIZE
    joints: int = JOINTS


def toy(weights: str, rows: int) -> Toy:
    if weights == "broken":
        raise InputError("broken: not a readable safetensors file")
    return Toy()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PlanCache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return PlanCache()


def test_list_says_what_every_plan_is_for(cache: PlanCache, capsys: pytest.CaptureFixture[str]) -> None:
    notes = {"build_seconds": 61.0, "built_by": "onnx", "parity": {"NVIDIA H200": {"p99_px": 0.1234}}}
    plan = cache.put(KEY, b"plan", notes)
    cache.path(KEY).with_name("stray.plan").write_bytes(b"")
    assert command.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{cache.folder}:"
    assert sorted(lines[1:]) == sorted(
        [
            f"{plan.path.name}: tensorrt 10.15.1.29 fp16, 256x192, 17 joints, GPU NVIDIA H200, 0.0 MB, built in 61.0 s"
            " by onnx; NVIDIA H200: p99 0.123 px off FP32",
            "stray.plan: not usable, its description cannot be read",
        ]
    )


def test_clear_empties_the_cache(cache: PlanCache, capsys: pytest.CaptureFixture[str]) -> None:
    cache.put(KEY, b"plan", {})
    assert command.main(["clear"]) == 0
    assert capsys.readouterr().out.startswith("removed 1 plans, 0.0 MB")
    assert cache.list() == []


def test_export_writes_onnx_and_says_what_is_in_which_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    path = tmp_path / "toy.onnx"
    export = ["export", *HERE, "--precision", "fp16", "-o", str(path)]
    assert command.main(export) == 0
    assert "2 Conv float16, 1 ConvTranspose float16, 1 Softmax float32, 4 ReduceSum float32" in capsys.readouterr().out
    onnx.checker.check_model(onnx.load(path), full_check=True)
    before = path.read_bytes()
    assert command.main(export) == 5
    assert "exists; give another name or --overwrite" in capsys.readouterr().err and path.read_bytes() == before


def test_build_prints_the_plan(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[object, ...]] = []

    def compiled(network: nn.Module, *rest: object) -> TensorRtEngine:
        asked.append(rest)
        engine = TensorRtEngine.__new__(TensorRtEngine)
        engine.plan = cache.put(KEY, b"plan", {"build_seconds": 61.0, "built_by": "onnx"})
        return engine

    monkeypatch.setattr("engines.__main__.load_library", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr("engines.engine.compile_engine", compiled)
    assert command.main(["build", *HERE, "--device", "cuda:1"]) == 0
    assert asked == [(SIZE, JOINTS, "tensorrt", "cuda:1", "fp16")]
    assert "built in 61.0 s by onnx; not yet checked" in capsys.readouterr().out


def test_a_plan_without_a_gpu_is_for_rtx_alone(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = SimpleNamespace(name="tensorrt", portable=False)
    monkeypatch.setattr("engines.__main__.load_library", lambda name: library)
    assert command.main(["build", *HERE, "--device", "none"]) == 5
    assert "tensorrt builds plans on the GPU that will run them" in capsys.readouterr().err


def test_errors_of_the_networks_package_keep_their_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["export", *HERE, "--weights", "broken", "-o", str(tmp_path / "x.onnx")]) == 3
    assert capsys.readouterr().err == "error: broken: not a readable safetensors file\n"


def test_a_mistake_in_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: PlanCache) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PlanCache, "list", broken)
    with pytest.raises(ZeroDivisionError):
        command.main(["list"])


def test_a_folder_that_others_may_write_to_is_an_error(cache: PlanCache, capsys: pytest.CaptureFixture[str]) -> None:
    cache.folder.chmod(0o777)
    assert command.main(["list"]) == 5
    assert capsys.readouterr().err.startswith("error: plans are code, and")

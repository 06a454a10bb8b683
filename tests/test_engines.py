from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from engines import Engine, compile_engine
from engines.benchmark import random_inputs
from engines.engine import EngineError
from posefix_track.network import PoseFix
from tests.decided_network import JOINTS, SIZE, decided_network

# Crop pixels; kernels of the two sum in another order.
ENGINES_AGREE_PX = 0.05

Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]
Reference = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def network() -> PoseFix:
    return decided_network()


@pytest.fixture(scope="module", params=["torch", "openvino"])
def engine(network: PoseFix, request: pytest.FixtureRequest) -> Engine:
    return compile_engine(network, SIZE, JOINTS, request.param, "cpu")


@pytest.fixture(scope="module")
def reference(network: PoseFix) -> Reference:
    def run(images: np.ndarray, keypoints: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tensors = [torch.from_numpy(np.array(a)) for a in (images, keypoints, present)]
        with torch.inference_mode():
            refined, similarity = network(*tensors)
        return refined.numpy(), similarity.numpy()

    return run


def inputs(batch: int) -> Inputs:
    return random_inputs(batch, SIZE, JOINTS, seed=batch)


def assert_close(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    assert np.abs(found[0] - expected[0]).max() <= ENGINES_AGREE_PX
    assert np.abs(found[1] - expected[1]).max() <= 5e-3  # a tenth of the width of the gate
    assert found[0].dtype == found[1].dtype == np.float32


@pytest.mark.parametrize("batch", [1, 3, 16, 2])
def test_engines_compute_the_networks_function(engine: Engine, reference: Reference, batch: int) -> None:
    assert_close(engine(*inputs(batch)), reference(*inputs(batch)))


def test_any_number_of_rows_is_accepted(engine: Engine, reference: Reference) -> None:
    rows = engine.max_batch + 1
    assert_close(engine(*inputs(rows)), reference(*inputs(rows)))


def test_mirrored_and_sliced_views_are_accepted(engine: Engine, reference: Reference) -> None:
    images, keypoints, present = inputs(6)
    views = images[::2, :, ::-1], keypoints[::2, ::-1], present[::2, ::-1]
    assert not any(view.flags.c_contiguous for view in views)
    assert_close(engine(*views), reference(*views))


def test_read_only_arrays_are_accepted(engine: Engine, reference: Reference) -> None:
    columns = inputs(2)
    for column in columns:
        column.flags.writeable = False
    assert_close(engine(*columns), reference(*columns))


def test_inputs_are_left_as_they_were(engine: Engine) -> None:
    columns = inputs(2)
    before = [column.copy() for column in columns]
    engine(*columns)
    for column, copy in zip(columns, before, strict=True):
        np.testing.assert_array_equal(column, copy)


def test_a_later_call_does_not_change_earlier_results(engine: Engine) -> None:
    first, _ = engine(*inputs(3))
    kept = first.copy()
    engine(*(column[::-1] for column in inputs(3)))
    np.testing.assert_array_equal(first, kept)


def test_absent_joints_may_hold_anything(engine: Engine) -> None:
    images, keypoints, present = inputs(3)
    expected, _ = engine(images, np.where(present[..., None], keypoints, np.float32(0)), present)
    found, _ = engine(images, np.where(present[..., None], keypoints, np.float32(np.nan)), present)
    np.testing.assert_array_equal(found, expected)


def test_the_engine_tells_what_runs(engine: Engine) -> None:
    assert engine.name in ("torch cpu fp32", "openvino cpu fp32")


def test_auto_takes_openvino_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.openvino_engine.OpenVinoEngine", lambda *arguments: arguments)
    assert compile_engine(nn.Identity(), SIZE, JOINTS, device="cpu")[1:3] == (SIZE, JOINTS)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.parametrize("name", ["auto", "torch", "openvino"])
def test_cuda_without_cuda_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="no CUDA device"):
        compile_engine(nn.Identity(), SIZE, JOINTS, name, device)


@pytest.mark.parametrize(
    ("version", "driver", "reason"),
    [
        (None, "", "built without CUDA"),
        ("13.0", "Found no NVIDIA driver on your system. Please check", r"Found no NVIDIA driver on your system\)"),
        ("13.0", "The NVIDIA driver on your system is too old (found version 1).", "too old"),
    ],
)
def test_a_missing_gpu_is_explained(
    monkeypatch: pytest.MonkeyPatch, version: str | None, driver: str, reason: str
) -> None:
    def init() -> None:
        raise RuntimeError(driver)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(EngineError, match=reason) as caught:
        compile_engine(nn.Identity(), SIZE, JOINTS, device="cuda")
    assert "use --device cpu" in str(caught.value)


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(EngineError, match="cuda:2 was asked for, but the last GPU here is cuda:1"):
        compile_engine(nn.Identity(), SIZE, JOINTS, device="cuda:2")


@pytest.mark.parametrize("name", ["tensorflow", "", "Torch"])
def test_an_unknown_engine_lists_the_known_ones(name: str) -> None:
    with pytest.raises(EngineError, match=r"unknown engine.*known: auto, torch, openvino"):
        compile_engine(nn.Identity(), SIZE, JOINTS, name, "cpu")


@pytest.mark.parametrize("device", ["tpu", "", "gpu:0", "auto:1", "cuda:x", "cuda:-1"])
def test_an_unknown_device_lists_the_known_ones(device: str) -> None:
    with pytest.raises(EngineError, match=r"unknown device.*known: auto, cpu, cuda"):
        compile_engine(nn.Identity(), SIZE, JOINTS, "auto", device)

"""python -m engines.benchmark: what it measures, and with what."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.benchmark import (
    Inputs,
    Measurement,
    compiled,
    crop_gflop,
    measure,
    peak_gflops,
    random_inputs,
    table,
)
from posefix_track.specimen import specimen

SIZE, JOINTS = (32, 64), 19


class Convolution(nn.Module):
    """A network of 2 * 27 * 8 operations a pixel, after one pooling to half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3, 2, 1, bias=False)

    def forward(self, images: Tensor, keypoints: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layer(images.permute(0, 3, 1, 2).float())
        return keypoints + features.mean((1, 2, 3))[:, None, None] * 0, present[..., None].expand_as(keypoints).float()


@dataclass
class Subject:
    network: nn.Module
    input_size: tuple[int, int]
    joints: int
    quantised: Path | None
    inputs: Inputs


SUBJECT = Subject(Convolution().eval(), SIZE, JOINTS, None, random_inputs(4, SIZE, JOINTS))


class Shifted:
    """An engine that puts the joints of row i beside their places, i pixels to the right."""

    name, max_batch = "shifted cpu fp32", 4

    def __init__(self, shift: float) -> None:
        self.shift, self.calls = shift, 0

    def __call__(self, images: np.ndarray, keypoints: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        rows = np.arange(len(keypoints), dtype=np.float32)[:, None, None]
        return keypoints + rows * (self.shift, 0), np.zeros_like(keypoints)


def test_every_engine_is_timed_and_compared() -> None:
    engines = [Shifted(1), Shifted(2)]
    found = measure(engines, Shifted(0), random_inputs(3, SIZE, JOINTS), seconds=0.0, rounds=2)
    assert [m.distances.max() for m in found] == [2, 4]
    # Of each round: one call that is not counted and two that are; and one for the distance.
    assert [(len(m.seconds), engine.calls) for m, engine in zip(found, engines, strict=True)] == [(4, 7), (4, 7)]


def test_speed_is_that_of_the_median_call() -> None:
    measurement = Measurement("x", 4, np.zeros((4, 2)), [0.5, 0.1, 0.2])
    assert measurement.crops_per_second == pytest.approx(20)
    assert (measurement.latency_ms(0), measurement.latency_ms(100)) == (pytest.approx(100), pytest.approx(500))


def test_operations_are_counted_twice_a_multiplication() -> None:
    assert crop_gflop(SUBJECT) == pytest.approx(16 * 32 * 8 * 27 * 2 / 1e9)


def test_int8_is_held_against_the_peak_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.benchmark._PEAK_SIZE", {"cpu": 256})
    found = peak_gflops("cpu", ["bf16", "fp32", "int8"], 0.01)
    assert [*found] == ["bf16", "fp32", "int8"]
    assert found["int8"] == found["fp32"] > 0.1 < found["bf16"]


def test_what_cannot_run_here_is_named() -> None:
    engines, missing = compiled(SUBJECT, ["torch", "openvino"], ["fp32", "int8"], "cpu")
    assert [engine.name for engine in engines] == ["torch cpu fp32", "openvino cpu fp32"]
    assert [why.split(":")[0] for why in missing] == ["torch int8", "openvino int8"]


def test_the_table_has_speed_share_of_peak_and_distances() -> None:
    measurement = Measurement("openvino cpu fp32", 4, np.linspace(0, 1, 101), [0.1, 0.1])
    row = table([measurement], gflop=2.0, peaks={"fp32": 160.0}).splitlines()[-1]
    assert row == "| openvino cpu fp32 | 4 | 40.0 | 100.0 | 100.0 | 50% | 0.5000 | 0.9900 | 1.0000 |"


def test_the_specimen_fits_its_network() -> None:
    found = specimen("lite", rows=3)
    images, keypoints, present = found.inputs
    assert images.shape == (3, *found.input_size, 3)
    assert keypoints.shape == (3, found.joints, 2) and present.shape == (3, found.joints)
    assert present.any(1).all() and images.any()
    with torch.inference_mode():
        refined, _ = found.network(*(torch.from_numpy(column) for column in found.inputs))
    assert refined.shape == keypoints.shape

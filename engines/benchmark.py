"""`python -m engines.benchmark`: speed of every engine and precision at every batch size, and its distance to FP32."""

import argparse
import importlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engines.engine import ENGINES, PRECISIONS, Engine, EngineError, compile_engine

Inputs = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]

# Large enough that a matrix product runs at the machine's peak, small enough for a CPU to do several in a second.
_PEAK_SIZE = {"cpu": 2048, "cuda": 8192}
_PEAK_KINDS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.float32}


class Subject(Protocol):
    """What is measured: a network, its input size (height, width), its joints, its INT8 form, and typical inputs."""

    network: nn.Module
    input_size: tuple[int, int]
    joints: int
    quantised: Path | None
    inputs: Inputs


@dataclass
class Measurement:
    """One engine at one batch size.

    Attributes:
        engine: its name.
        distances: float [B, K] to the reference's keypoints, crop pixels.
        seconds: of each call.
    """

    engine: str
    batch: int
    distances: npt.NDArray[np.floating]
    seconds: list[float] = field(default_factory=list)

    @property
    def crops_per_second(self) -> float:
        """Of the median call."""
        return self.batch / statistics.median(self.seconds)

    def latency_ms(self, percentile: float) -> float:
        """Of a call."""
        return float(np.percentile(self.seconds, percentile)) * 1e3


def random_inputs(batch: int, input_size: tuple[int, int], joints: int, seed: int = 0) -> Inputs:
    """Seeded noise crops with poses inside them; every tenth joint absent."""
    rng = np.random.default_rng(seed)
    height, width = input_size
    images = rng.integers(0, 256, (batch, height, width, 3)).astype(np.uint8)
    keypoints = (rng.random((batch, joints, 2)) * (width, height)).astype(np.float32)
    return images, keypoints, rng.random((batch, joints)) > 0.1


def measure(
    engines: Sequence[Engine], reference: Engine, inputs: Inputs, seconds: float = 2.0, rounds: int = 3
) -> list[Measurement]:
    """Time all engines on one batch, each for about ``seconds``, in turns: all see the same state of the machine."""
    expected, _ = reference(*inputs)
    distances = [np.linalg.norm(engine(*inputs)[0] - expected, axis=-1) for engine in engines]
    found = [Measurement(e.name, len(inputs[0]), d) for e, d in zip(engines, distances, strict=True)]
    for _ in range(rounds):
        for engine, measurement in zip(engines, found, strict=True):
            measurement.seconds += _timed(engine, inputs, seconds / rounds)
    return found


def _timed(engine: Engine, inputs: Inputs, seconds: float) -> list[float]:
    """Seconds of calls, two or more, after one that wakes everything up."""
    engine(*inputs)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 2:
        start = time.perf_counter()
        engine(*inputs)
        times.append(time.perf_counter() - start)
    return times


def crop_gflop(subject: Subject) -> float:
    """Billions of multiplications and additions that one crop takes."""
    images, keypoints, present = (torch.from_numpy(np.ascontiguousarray(column[:1])) for column in subject.inputs)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        subject.network(images, keypoints, present)
    return float(counter.get_total_flops()) / 1e9


def peak_gflops(device: str, precisions: Sequence[str], seconds: float = 1.0) -> dict[str, float]:
    """What the machine reaches in a large matrix product of each precision; of FP32 for INT8."""
    measured = {kind: _product_gflops(device, kind, seconds) for kind in {_PEAK_KINDS[p] for p in precisions}}
    return {precision: measured[_PEAK_KINDS[precision]] for precision in precisions}


def _product_gflops(device: str, kind: torch.dtype, seconds: float) -> float:
    size = _PEAK_SIZE[device.split(":")[0]]
    a, b = (torch.randn(size, size).to(device, kind) for _ in range(2))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        # Reading one number waits for the product.
        (a @ b)[0, 0].item()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e9


def table(measurements: Sequence[Measurement], gflop: float, peaks: dict[str, float]) -> str:
    """Markdown; ``peaks`` are those of the last word of the engines' names."""
    head = "| engine | batch | crops/s | p50 ms | p99 ms | of peak | distance to FP32, px: median | 99 % | max |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|---|", *(_row(m, gflop, peaks) for m in measurements)])


def _row(m: Measurement, gflop: float, peaks: dict[str, float]) -> str:
    share = m.crops_per_second * gflop / peaks[m.engine.split()[-1]]
    speed = f"{m.crops_per_second:.1f} | {m.latency_ms(50):.1f} | {m.latency_ms(99):.1f} | {share:.0%}"
    distances = " | ".join(f"{d:.4f}" for d in np.percentile(m.distances, [50, 99, 100]))
    return f"| {m.engine} | {m.batch} | {speed} | {distances} |"


def compiled(
    subject: Subject, names: Sequence[str], precisions: Sequence[str], device: str
) -> tuple[list[Engine], list[str]]:
    """The engines that this machine has, and why it has not the others."""
    engines, missing = [], []
    for name, precision in product(names, precisions):
        try:
            engines.append(
                compile_engine(
                    subject.network, subject.input_size, subject.joints, name, device, precision, subject.quantised
                )
            )
        except EngineError as error:
            missing.append(f"{name} {precision}: {error}")
    return engines, missing


def main() -> None:
    """Print the table for this machine."""
    parser = argparse.ArgumentParser(prog="python -m engines.benchmark", description=__doc__)
    parser.add_argument(
        "--subject", default="posefix_track.specimen:specimen", metavar="MODULE:FUNCTION",
        help="function of a weights name and a number of rows that returns what is measured",
    )  # fmt: skip
    parser.add_argument("--weights", default="lite", help="given to the function (default lite)")
    parser.add_argument("--engines", nargs="+", default=[*ENGINES], choices=ENGINES)
    parser.add_argument("--precisions", nargs="+", default=[*PRECISIONS[1:]], choices=PRECISIONS[1:])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row of the table (default 2)")
    print(_report(parser.parse_args()))


def _report(arguments: argparse.Namespace) -> str:
    module, function = arguments.subject.split(":")
    subject: Subject = getattr(importlib.import_module(module), function)(arguments.weights, max(arguments.batches))
    engines, missing = compiled(subject, arguments.engines, arguments.precisions, arguments.device)
    if not engines:
        raise SystemExit("\n".join(["no engine to measure", *missing]))
    reference = compile_engine(subject.network, subject.input_size, subject.joints, "torch", "cpu", "fp32")
    batches = [(subject.inputs[0][:n], subject.inputs[1][:n], subject.inputs[2][:n]) for n in arguments.batches]
    rows = [m for batch in batches for m in measure(engines, reference, batch, arguments.seconds)]
    device = engines[0].name.split()[1]
    peaks = peak_gflops(device, sorted({engine.name.split()[-1] for engine in engines}))
    gflop = crop_gflop(subject)
    known = ", ".join(f"{p} {g:.0f} GFLOP/s" for p, g in peaks.items())
    notes = [f"{gflop:.2f} GFLOP a crop; peak of a matrix product: {known}", *(f"not here: {why}" for why in missing)]
    return "\n".join([table(sorted(rows, key=lambda m: (m.engine, m.batch)), gflop, peaks), "", *notes])


if __name__ == "__main__":
    main()

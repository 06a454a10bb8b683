"""`python -m engines.benchmark`: crops per second of every engine at several batches, and its distance to torch."""

import argparse
import importlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.engine import ENGINES, Engine, compile_engine

Inputs = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Measurement:
    """One engine at one batch size.

    Attributes:
        crops_per_second: median over the runs.
        p50_ms, p99_ms: latency of one call.
        max_difference: largest distance to the reference's keypoints, crop pixels.
    """

    engine: str
    batch: int
    crops_per_second: float
    p50_ms: float
    p99_ms: float
    max_difference: float


def random_inputs(batch: int, input_size: tuple[int, int], joints: int, seed: int = 0) -> Inputs:
    """Seeded noise crops with poses inside them; every tenth joint absent."""
    rng = np.random.default_rng(seed)
    height, width = input_size
    images = rng.integers(0, 256, (batch, height, width, 3)).astype(np.uint8)
    keypoints = (rng.random((batch, joints, 2)) * (width, height)).astype(np.float32)
    return images, keypoints, rng.random((batch, joints)) > 0.1


def measure(engine: Engine, reference: Engine, inputs: Inputs, seconds: float = 3.0) -> Measurement:
    """Time ``engine`` on one batch for about ``seconds``, after two warm-up calls."""
    batch = len(inputs[0])
    expected, _ = reference(*inputs)
    difference = float(np.linalg.norm(engine(*inputs)[0] - expected, axis=-1).max())
    engine(*inputs)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        start = time.perf_counter()
        engine(*inputs)
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    p99 = float(np.percentile(times, 99))
    return Measurement(engine.name, batch, batch / median, median * 1e3, p99 * 1e3, difference)


def table(measurements: Sequence[Measurement]) -> str:
    """A Markdown table."""
    head = "| engine | batch | crops/s | p50 ms | p99 ms | max difference to torch, px |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(_row(m) for m in measurements)])


def _row(m: Measurement) -> str:
    speed = f"{m.crops_per_second:.1f} | {m.p50_ms:.1f} | {m.p99_ms:.1f}"
    return f"| {m.engine} | {m.batch} | {speed} | {m.max_difference:.4f} |"


def main() -> None:
    """Print the table for this machine."""
    parser = argparse.ArgumentParser(prog="python -m engines.benchmark", description=__doc__)
    parser.add_argument(
        "--network", default="posefix_track.weights:shipped_network", metavar="MODULE:FUNCTION",
        help="function without arguments that returns (network, (height, width), joints); default: the lite weights",
    )  # fmt: skip
    parser.add_argument("--engines", nargs="+", default=[*ENGINES], choices=ENGINES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    module, function = arguments.network.split(":")
    network, input_size, joints = getattr(importlib.import_module(module), function)()
    engines = [compile_engine(network, input_size, joints, name, arguments.device) for name in arguments.engines]
    reference = compile_engine(network, input_size, joints, "torch", "cpu")
    inputs = [random_inputs(batch, input_size, joints) for batch in arguments.batches]
    print(table([measure(engine, reference, i) for engine in engines for i in inputs]))


if __name__ == "__main__":
    main()

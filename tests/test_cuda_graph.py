"""Recording of CUDA graphs, as far as it shows without a GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from engines.cuda_graph import CudaGraph, GraphMemory, recording_settings


class FakeGpus:
    """Streams of several GPUs, and recording as torch does it: on a stream of the GPU that was the current one first.

    Attributes:
        device: the current GPU; ran: GPUs of the streams that functions ran on.
        fails: whether recordings cannot be ended.
    """

    class Stream:
        def __init__(self, device: int) -> None:
            self.device = device

        def wait_stream(self, other: object) -> None:
            """Nothing runs."""

    def __init__(self) -> None:
        self.device, self.fails = 0, False
        self.current = {device: self.Stream(device) for device in range(2)}
        self.own_stream: FakeGpus.Stream | None = None
        self.ran: list[int] = []

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.ran.append(self.device)
        return x, x

    @contextmanager
    def stream(self, stream: "FakeGpus.Stream") -> Iterator[None]:
        before, self.device = self.device, stream.device
        replaced, self.current[self.device] = self.current[self.device], stream
        try:
            yield
        finally:
            self.current[stream.device], self.device = replaced, before

    @contextmanager
    def graph(
        self, graph: object, pool: object, stream: "FakeGpus.Stream | None" = None, capture_error_mode: str = "global"
    ) -> Iterator[None]:
        self.own_stream = self.own_stream or self.Stream(self.device)
        self.inside = self.stream(stream or self.own_stream)
        self.inside.__enter__()
        yield
        if self.fails:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self.inside.__exit__(None, None, None)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    fake = FakeGpus()
    replaced: dict[str, Callable[..., object]] = {
        "Stream": lambda: fake.Stream(fake.device),
        "current_stream": lambda: fake.current[fake.device],
        "graph_pool_handle": object,
        "CUDAGraph": object,
        "stream": fake.stream,
        "graph": fake.graph,
    }
    for name, function in replaced.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return fake


def test_every_gpu_records_its_own_graphs(gpus: FakeGpus) -> None:
    for device in (0, 1):
        gpus.device = device
        gpus.ran.clear()
        CudaGraph(gpus.run, (torch.zeros(1),), GraphMemory())
        assert {*gpus.ran} == {device} and gpus.device == device


def test_a_recording_that_fails_leaves_the_callers_stream(gpus: FakeGpus) -> None:
    gpus.fails, before = True, gpus.current[0]
    with pytest.raises(RuntimeError, match="a previous error during capture"):
        CudaGraph(gpus.run, (torch.zeros(1),), GraphMemory())
    assert gpus.current[0] is before


Settings = Callable[[], None]


def newer_convolutions() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


def newer_everything() -> None:
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]


def older_products() -> None:
    torch.set_float32_matmul_precision("high")


def older_convolutions() -> None:
    torch.backends.cudnn.allow_tf32 = False


def nothing() -> None:
    pass


def precisions() -> list[str]:
    backends = (torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends)  # type: ignore[attr-defined]
    return [backend.fp32_precision for backend in backends]


@pytest.fixture
def settings_restored() -> Iterator[None]:
    yield
    torch.backends.fp32_precision = "none"  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.fp32_precision = "none"  # type: ignore[attr-defined]


@pytest.mark.parametrize("chosen", [nothing, newer_convolutions, newer_everything, older_products, older_convolutions])
def test_graphs_are_exact_whatever_the_process_allows(chosen: Settings, settings_restored: None) -> None:
    chosen()
    before, benchmark = precisions(), torch.backends.cudnn.benchmark
    with recording_settings():
        assert precisions()[:2] == ["ieee", "ieee"] and torch.backends.cudnn.benchmark
    assert precisions() == before and torch.backends.cudnn.benchmark == benchmark


def test_what_followed_another_setting_goes_on_following_it(settings_restored: None) -> None:
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]
    with recording_settings():
        pass
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    assert precisions()[1] == "ieee"

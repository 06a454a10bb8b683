"""One forward pass recorded as a CUDA graph: a single launch in place of hundreds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, Tensor]
Setting = tuple[Any, str, Any]
# cuDNN tries its algorithms in the first run; the others fill caches that may not be filled while recording.
_WARM_UPS = 3


class GraphMemory:
    """What graphs of the current GPU share that never run at the same time.

    Attributes:
        stream: that they are recorded on. torch's own is one of the GPU that first recorded anything in this process;
            graphs of any other GPU would stay empty on it.
        pool: their memory, which is given out on that stream; see torch.cuda.graph_pool_handle.
    """

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.pool: Any = torch.cuda.graph_pool_handle()


class CudaGraph:
    """``function(*inputs)``, recorded. A call runs it again on what lies in ``inputs`` by then.

    Whatever precision the process allows for products in FP32, the graph computes them in FP32.

    Args:
        function: runs on the GPU without ever waiting for it.
        inputs: tensors whose memory the graph reads from now on.
        memory: of the same GPU, which is the current one.
    """

    def __init__(self, function: Callable[..., Outputs], inputs: tuple[Tensor, ...], memory: GraphMemory) -> None:
        here = torch.cuda.current_stream()
        memory.stream.wait_stream(here)
        # torch leaves the other stream the current one where it cannot end a recording.
        with torch.cuda.stream(here), recording_settings():
            with torch.cuda.stream(memory.stream):
                for _ in range(_WARM_UPS):
                    function(*inputs)
            here.wait_stream(memory.stream)
            self._graph = torch.cuda.CUDAGraph()
            # Frames are uploaded from another thread meanwhile, which may allocate and wait as it likes.
            with torch.cuda.graph(self._graph, memory.pool, memory.stream, capture_error_mode="thread_local"):
                self._outputs = function(*inputs)

    def __call__(self) -> Outputs:
        """Queue the pass on the current stream; the outputs are overwritten by the next one."""
        self._graph.replay()
        return self._outputs


@contextmanager
def recording_settings() -> Iterator[None]:
    """cuDNN measures its algorithms for these shapes, and nothing in FP32 is rounded to TF32.

    The process's own settings are put back afterwards.
    """
    settings = _settings()
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
    for owner, name, value in settings:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for setting in before:
            _put_back(*setting)


def _settings() -> list[Setting]:
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    fastest: list[Setting] = [(cudnn, "enabled", True), (cudnn, "benchmark", True), (cudnn, "deterministic", False)]
    # From torch 2.9 on; in a process that has used these, the older ones cannot even be read.
    if hasattr(cudnn, "conv"):
        return [*fastest, (cudnn.conv, "fp32_precision", "ieee"), (matmul, "fp32_precision", "ieee")]
    return [*fastest, (cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]


def _put_back(owner: Any, name: str, value: Any) -> None:
    if name == "fp32_precision":
        # What it was may have been another setting's, which it goes on following then.
        owner.fp32_precision = "none"
    if getattr(owner, name) != value:
        setattr(owner, name, value)

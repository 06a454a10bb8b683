"""One forward pass recorded as a CUDA graph: a single launch in place of hundreds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, Tensor]
# cuDNN tries its algorithms in the first run; the others fill caches that may not be filled while recording.
_WARM_UPS = 3


class CudaGraph:
    """``function(*inputs)``, recorded. A call runs it again on what lies in ``inputs`` by then.

    Args:
        function: runs on the GPU without ever waiting for it.
        inputs: tensors whose memory the graph reads from now on.
        pool: memory that graphs share which never run at the same time, see torch.cuda.graph_pool_handle.
        exact: keep FP32 arithmetic from being rounded to TF32.
    """

    def __init__(self, function: Callable[..., Outputs], inputs: tuple[Tensor, ...], pool: Any, exact: bool) -> None:
        here = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(here)
        with _fastest_convolutions(exact):
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    function(*inputs)
            here.wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # Frames are uploaded from another thread meanwhile, which may allocate and wait as it likes.
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self._outputs = function(*inputs)

    def __call__(self) -> Outputs:
        """Queue the pass on the current stream; the outputs are overwritten by the next one."""
        self._graph.replay()
        return self._outputs


@contextmanager
def _fastest_convolutions(exact: bool) -> Iterator[None]:
    """cuDNN measures its algorithms for these shapes; the process's own settings are put back afterwards."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=not exact):
        yield

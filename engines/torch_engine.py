"""PyTorch: the reference that every other engine is compared with, and what a GPU runs without TensorRT."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engines.buckets import Buckets, Inputs, Outputs
from engines.cuda_graph import CudaGraph, GraphMemory
from engines.engine import EngineError, TensorEngine, out_of_memory
from engines.folding import folded, half_convolutions

Float = npt.NDArray[np.float32]

# Rows that a graph is recorded for; a batch is filled up to the next of them, by a half at the worst.
BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64)
# A CPU gains nothing from more rows.
_CPU_BATCH = 16
_PRECISIONS = ("auto", "fp32", "fp16")


class TorchEngine:
    """A copy of the network with folded batch norms, channels last.

    On a GPU the convolutions run in FP16, and the whole network, coordinates included, is one CUDA graph for each
    bucket of batch sizes, recorded when it is first needed.

    Args:
        network: forward takes images, keypoints, present; it is left as it is.
        input_size: (height, width) of the images.
        joints: K.
        device: "cpu", "cuda" or "cuda:N".
        precision: "fp32", "fp16", or "auto" for FP16 on a GPU and FP32 on a CPU.
        buckets: batch sizes that are run, ascending; smaller batches are filled up with rows that are cut off again.
            None for BUCKETS on a GPU and any size on a CPU.

    Raises:
        EngineError: an unknown precision, or a GPU that cannot hold or run the network.
    """

    def __init__(
        self,
        network: nn.Module,
        input_size: tuple[int, int],
        joints: int,
        device: str = "cpu",
        precision: str = "auto",
        buckets: Sequence[int] | None = None,
    ) -> None:
        on_gpu = device.startswith("cuda")
        self.precision = _precision(precision, on_gpu)
        self.name = f"torch {device} {self.precision}"
        sizes = tuple(buckets or (BUCKETS if on_gpu else ()))
        self.max_batch = sizes[-1] if sizes else _CPU_BATCH
        with gpu_failures_named(device):
            self.device = device_named(device)
            self._network = self._ready(network, _blank(1, input_size, joints, _device_of(network)))
            rows = _blank(self.max_batch, input_size, joints, self.device)
            self._buckets = Buckets(self._recorded, rows, sizes) if sizes else None

    def _ready(self, network: nn.Module, example: Inputs) -> nn.Module:
        ready = folded(network, example)
        if self.precision == "fp16":
            half_convolutions(ready)
        return ready.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        """See Engine."""
        return run_on_arrays(self, images, keypoints, present)

    @torch.inference_mode()
    def run(self, images: Tensor, keypoints: Tensor, present: Tensor) -> Outputs:
        """See TensorEngine."""
        if self._buckets is None:
            refined, similarity = self._network(images, keypoints, present)
            return refined, similarity
        with current_gpu(self.device):
            return self._buckets(images, keypoints, present)

    def _recorded(self, rows: Inputs) -> Callable[[], Outputs]:
        if self.device.type != "cuda":
            return lambda: self._network(*rows)
        return CudaGraph(self._network, rows, self._graph_memory)

    @cached_property
    def _graph_memory(self) -> GraphMemory:
        """Made where a graph needs it: of the current GPU, which is this one then."""
        return GraphMemory()


def run_on_arrays(
    engine: TensorEngine, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
) -> tuple[Float, Float]:
    """What ``Engine`` asks for, by an engine on tensors: arrays to its device, ``run``, and back."""
    # torch warns of arrays that it could not write to.
    arrays = (np.require(a, None, ["C", "W"]) for a in (images, keypoints, present))
    refined, similarity = engine.run(*(torch.from_numpy(a).to(engine.device) for a in arrays))
    return refined.cpu().numpy(), similarity.cpu().numpy()


def _precision(precision: str, on_gpu: bool) -> str:
    if precision not in _PRECISIONS:
        raise EngineError(f"the torch engine has no precision {precision!r}; it has {', '.join(_PRECISIONS[1:])}")
    return ("fp16" if on_gpu else "fp32") if precision == "auto" else precision


def _blank(rows: int, input_size: tuple[int, int], joints: int, device: torch.device) -> Inputs:
    """Black images without people."""
    return (
        torch.zeros((rows, *input_size, 3), dtype=torch.uint8, device=device),
        torch.zeros((rows, joints, 2), device=device),
        torch.zeros((rows, joints), dtype=torch.bool, device=device),
    )


def _device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def device_named(name: str) -> torch.device:
    """With its number: "cuda" alone means the current GPU, which is another one in another thread."""
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def current_gpu(device: torch.device) -> AbstractContextManager[object]:
    """Streams and graphs are those of the current GPU, which need not be this engine's."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@contextmanager
def gpu_failures_named(device: str) -> Iterator[None]:
    """What a driver says when a network does not get onto a GPU, as an EngineError with what to do."""
    try:
        yield
    except EngineError:
        raise
    except RuntimeError as error:
        if out_of_memory(error):
            raise EngineError(
                f"{device} has too little free memory for the network; free some or use --device cpu"
            ) from error
        if not device.startswith("cuda"):
            raise
        reason = str(error).splitlines()[0]
        raise EngineError(
            f"{device} cannot run the network ({reason}); update its driver or use --device cpu"
        ) from error

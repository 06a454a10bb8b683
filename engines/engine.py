"""The Engine protocol, and the choice of an engine for a machine."""

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Float = npt.NDArray[np.float32]

ENGINES = ("torch", "openvino", "tensorrt", "tensorrt-rtx")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """A compiled network.

    Attributes:
        name: what runs, where and how precisely, such as "openvino cpu fp32"; printed and reported.
        max_batch: largest batch that is worth forming; any number of rows is accepted.
    """

    name: str
    max_batch: int

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        """Run a batch of B >= 1 rows.

        Args:
            images: uint8 [B, H, W, 3].
            keypoints: float32 [B, K, 2], crop pixels.
            present: bool [B, K].

        Returns:
            float32 [B, K, 2] keypoints in crop pixels, and float32 [B, K, 2] as the network defines it.
        """
        ...


class TensorEngine(Engine, Protocol):
    """An engine that also takes and gives tensors that lie on its device.

    Attributes:
        device: where.
    """

    device: torch.device

    def run(self, images: Tensor, keypoints: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """As ``__call__``, with tensors of the same shapes and types on ``device``.

        On a GPU it only queues work on the current stream and waits for nothing; the results are the caller's to keep.
        """
        ...


@runtime_checkable
class AsynchronousEngine(Engine, Protocol):
    """An engine that computes while its caller does something else."""

    def start(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> Callable[[], tuple[Float, Float]]:
        """As ``__call__``, but returns at once what gives the result. The arrays must stay as they are until then."""
        ...


class EngineError(RuntimeError):
    """An engine or device that was asked for cannot run here; the message says why."""


def out_of_memory(error: RuntimeError) -> bool:
    """Whether the memory of a GPU did not suffice, in the words of torch, CUDA, cuDNN or cuBLAS."""
    # An error that ends a recording hides the one for which it ended.
    if isinstance(error, torch.OutOfMemoryError) or isinstance(error.__context__, torch.OutOfMemoryError):
        return not isinstance(error, EngineError)
    return any(words in str(error) for words in ("CUDA error: out of memory", "STATUS_ALLOC_FAILED"))


def compile_engine(
    network: nn.Module,
    input_size: tuple[int, int],
    joints: int,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    quantised: Path | None = None,
) -> Engine:
    """Compile ``network`` (forward: images, keypoints, present) for this machine.

    Args:
        network: in evaluation mode.
        input_size: (height, width) of the images.
        joints: K.
        engine: one of ENGINES, which then runs or raises and is never replaced by another; "auto" takes TensorRT on a
            GPU where it is installed, else torch, and OpenVINO on a CPU.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" for the engine's choice, or one of PRECISIONS that the engine has; never replaced by another.
        quantised: the network in INT8 as ``engines.quantise`` wrote it; "auto" takes it where it is the fastest.

    Raises:
        EngineError: what was asked for is not available here.
    """
    device = _device("cuda" if device == "auto" and engine.startswith("tensorrt") else device)
    if precision not in PRECISIONS:
        raise EngineError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    if engine == "auto" and device.startswith("cuda"):
        return _fastest_on_gpu(network, input_size, joints, device, precision)
    if engine == "auto":
        engine = "openvino"
    if engine in ("tensorrt", "tensorrt-rtx"):
        from engines.tensorrt_engine import TensorRtEngine

        return TensorRtEngine(network, input_size, joints, device, precision, engine)
    if engine == "torch":
        from engines.torch_engine import TorchEngine

        return TorchEngine(network, input_size, joints, device, precision)
    if engine == "openvino":
        if device != "cpu":
            raise EngineError(f"the openvino engine runs on the CPU, got device {device!r}")
        from engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(network, input_size, joints, precision, quantised)
    raise EngineError(f"unknown engine {engine!r}; known: auto, {', '.join(ENGINES)}")


def _fastest_on_gpu(
    network: nn.Module, input_size: tuple[int, int], joints: int, device: str, precision: str
) -> Engine:
    """TensorRT where it is installed and works, else torch; what kept it from working is logged."""
    if importlib.util.find_spec("tensorrt") is not None:
        try:
            return compile_engine(network, input_size, joints, "tensorrt", device, precision)
        except EngineError as error:
            _log.warning("going on with torch in place of tensorrt: %s", error)
    return compile_engine(network, input_size, joints, "torch", device, precision)


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in DEVICES[1:] or (number and not number.isdecimal()):
        raise EngineError(f"unknown device {device!r}; known: {', '.join(DEVICES)}, cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"{device} was asked for, but torch sees no CUDA device ({_why()}); use --device cpu or auto")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise EngineError(f"{device} was asked for, but the last GPU here is cuda:{torch.cuda.device_count() - 1}")
    return device


def _why() -> str:
    """Why there is no CUDA: a torch without it, no driver, or a driver that is too old."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA; pytorch.org has builds with it"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return str(error).split(". ")[0]
    return "CUDA_VISIBLE_DEVICES may hide it"

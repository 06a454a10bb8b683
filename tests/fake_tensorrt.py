"""TensorRT as the engine sees it, without a GPU: plans run a torch network on the memory at the addresses they get."""

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

INPUT_TYPES = (ctypes.c_uint8, ctypes.c_float, ctypes.c_float)
NAMES = ("images", "keypoints", "present", "refined", "expected_ks")


def tensor_at(address: int, shape: tuple[int, ...], kind: Any = ctypes.c_float) -> torch.Tensor:
    count = int(np.prod(shape))
    return torch.from_numpy(np.ctypeslib.as_array((kind * count).from_address(address)).reshape(shape))


class FakeContext:
    def __init__(self, engine: "FakeEngine") -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.workspace = (0, -1)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return 1 <= shape[0] <= 64

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes["keypoints"]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return 1000 * self.shapes["images"][0]

    def set_device_memory(self, address: int, size: int) -> None:
        self.workspace = (address, size)

    def execute_async_v3(self, stream: int) -> bool:
        self.engine.library.calls.append((self.shapes["images"][0], stream, self.workspace[1]))
        if self.engine.library.fails:
            return False
        arrays = [tensor_at(self.addresses[n], self.shapes[n], k) for n, k in zip(NAMES[:3], INPUT_TYPES, strict=True)]
        with torch.inference_mode():
            results = self.engine.library.network(*arrays)
        for name, result in zip(NAMES[3:], results, strict=True):
            tensor_at(self.addresses[name], tuple(result.shape)).copy_(result)
        return True


class FakeEngine:
    num_io_tensors = len(NAMES)

    def __init__(self, library: "FakeTensorRt") -> None:
        self.library = library

    def get_tensor_name(self, i: int) -> str:
        return NAMES[i]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in NAMES[:3] else "output"

    def get_tensor_dtype(self, name: str) -> str:
        return self.library.output_type

    def create_execution_context(self, strategy: str) -> FakeContext:
        assert strategy == "user managed"
        return FakeContext(self)


class FakeTensorRt:
    """The module. ``calls``: batch size, stream and workspace bytes of every run."""

    __version__ = "10.15.1.29"
    float32 = "float"
    Builder = None
    TensorIOMode = SimpleNamespace(INPUT="input")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")

    class ILogger:
        VERBOSE, INFO, WARNING, ERROR = range(4, 0, -1)

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.calls: list[tuple[int, int, int]] = []
        self.deserialised: list[bytes] = []
        self.refuses = self.fails = False
        self.output_type = "float"

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        def deserialise(data: bytes) -> FakeEngine | None:
            if self.refuses:
                logger.log(self.ILogger.ERROR, "The engine plan file is generated on an incompatible device\nmore")
                return None
            self.deserialised.append(data)
            return FakeEngine(self)

        return SimpleNamespace(deserialize_cuda_engine=deserialise)


class FakeGraph:
    """Records and replays as engines.cuda_graph.CudaGraph does."""

    def __init__(self, function: Any, inputs: tuple[torch.Tensor, ...], memory: object) -> None:
        self.replay = function
        function(*inputs)

    def __call__(self) -> Any:
        return self.replay()

"""A plan on a GPU: one execution context for each batch size, on tensors that stay where they are."""

from typing import Any

import torch
from torch import Tensor

from engines.buckets import Inputs, Outputs
from engines.engine import EngineError
from engines.tensorrt_library import Library, library_logger, reason


class LoadedPlan:
    """A deserialised plan.

    Args:
        library: of the version that built the plan.
        data: verified by the cache; a plan is code.
        device: the current GPU.

    Raises:
        EngineError: a plan that the library does not take on this GPU, with its words.
    """

    def __init__(self, library: Library, data: bytes, device: torch.device) -> None:
        self.library = library
        self.device = device
        self._logger = library_logger(library)
        self._runtime = library.module.Runtime(self._logger)
        self._engine = self._deserialised(data)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        is_input = library.module.TensorIOMode.INPUT
        # Both ways of building keep the order of arguments and results, but not their names.
        self.inputs = [name for name in names if self._engine.get_tensor_mode(name) == is_input]
        self.outputs = [name for name in names if name not in self.inputs]
        self._workspace: Tensor | None = None

    def _deserialised(self, data: bytes) -> Any:
        engine = self._runtime.deserialize_cuda_engine(data) if self._runtime is not None else None
        if engine is None:
            gpu = torch.cuda.get_device_name(self.device)
            raise EngineError(
                f"{self.library.name} {self.library.version} cannot load the plan on {gpu}: {reason(self._logger)}"
            )
        return engine

    def context(self, rows: Inputs) -> "PlanContext":
        """For batches of ``len(rows[0])`` rows, which it reads from ``rows`` from then on."""
        context = self._made_context()
        if context is None:
            raise EngineError(f"the plan does not run in batches of {len(rows[0])}: {reason(self._logger)}")
        for name, tensor in zip(self.inputs, rows, strict=True):
            shaped = context.set_input_shape(name, tuple(tensor.shape))
            if not (shaped and context.set_tensor_address(name, tensor.data_ptr())):
                raise EngineError(f"the plan does not take {name} {tuple(tensor.shape)}: {reason(self._logger)}")
        outputs = [self._output(context, name) for name in self.outputs]
        workspace = self._workspace_of(context.update_device_memory_size_for_shapes())
        context.set_device_memory(workspace.data_ptr(), workspace.numel())
        return PlanContext(context, (outputs[0], outputs[1]), (*rows, workspace), self._logger)

    def _made_context(self) -> Any:
        """Without memory of its own: contexts run one after the other and share it."""
        trt = self.library.module
        shared = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self.library.portable:
            return self._engine.create_execution_context(shared)
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(shared)
        # A graph keeps the kernels that it was recorded with: they have to be the fast ones from the first run on.
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        return self._engine.create_execution_context(config)

    def _output(self, context: Any, name: str) -> Tensor:
        if self._engine.get_tensor_dtype(name) != self.library.module.float32:
            raise EngineError(f"the plan gives {name} as {self._engine.get_tensor_dtype(name)}, not as float32")
        output = torch.empty(tuple(context.get_tensor_shape(name)), device=self.device)
        context.set_tensor_address(name, output.data_ptr())
        return output

    def _workspace_of(self, size: int) -> Tensor:
        """Grows with the largest batch so far; smaller ones that graphs point to live as long as their contexts."""
        if self._workspace is None or self._workspace.numel() < size:
            self._workspace = torch.empty(max(size, 1), dtype=torch.uint8, device=self.device)
        return self._workspace


class PlanContext:
    """One batch size of a plan. A call queues it on the current stream; the next one overwrites the outputs."""

    def __init__(self, context: Any, outputs: Outputs, kept: tuple[Tensor, ...], logger: Any) -> None:
        self._context = context
        self._outputs = outputs
        self._kept = kept  # the context knows only their addresses
        self._logger = logger

    def __call__(self, *_: Tensor) -> Outputs:
        """Run on what lies in the rows by now."""
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise EngineError(f"TensorRT did not run the plan: {reason(self._logger)}")
        return self._outputs

    @property
    def recordable(self) -> bool:
        """Whether a CUDA graph can hold it; TensorRT for RTX may say no, TensorRT is not asked."""
        asked = getattr(self._context, "is_stream_capturable", None)
        return asked is None or bool(asked(torch.cuda.current_stream().cuda_stream))

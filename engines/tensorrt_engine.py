"""TensorRT on NVIDIA GPUs: an FP16 plan, built once for a network and GPU, then loaded from the user's cache."""

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engines.buckets import Buckets, Inputs, Outputs
from engines.cuda_graph import CudaGraph, GraphMemory
from engines.engine import EngineError
from engines.golden import Parity, golden_inputs, parity
from engines.onnx_export import PRECISIONS, blank, exported
from engines.plan_cache import PlanCache, StoredPlan
from engines.plan_key import PlanKey, code_sha256, weights_sha256
from engines.tensorrt_build import BATCHES, build_plan
from engines.tensorrt_library import Library, load_library
from engines.tensorrt_runtime import LoadedPlan
from engines.torch_engine import BUCKETS, TorchEngine, current_gpu, device_named, gpu_failures_named, run_on_arrays

Float = npt.NDArray[np.float32]

# Batches that the golden inputs are run in whenever a plan is loaded: the plan's ends, and one between.
_CHECKED_BATCHES = (1, 8, BATCHES[-1])

_log = logging.getLogger(__name__)


class TensorRtEngine:
    """Runs batches of any size, as one CUDA graph for each bucket of sizes.

    The first use of a network on a GPU builds the plan, which takes minutes and is logged; later ones load it. Before
    anything else a plan has to show on golden inputs that it computes what the FP32 network does.

    Args:
        network: forward takes images, keypoints, present; it is left as it is.
        input_size: (height, width) of the images.
        joints: K.
        device: "cuda" or "cuda:N".
        precision: "fp16", "fp32", or "auto" for FP16.
        library: "tensorrt" or "tensorrt-rtx".
        cache: of plans; None for the user's.

    Attributes:
        plan: the file that runs, with what is known about it.
        parity: how far it is from the FP32 network on the golden inputs.

    Raises:
        EngineError: no such library, GPU or precision; a network or plan that the library does not take; wrong results.
    """

    def __init__(
        self,
        network: nn.Module,
        input_size: tuple[int, int],
        joints: int,
        device: str = "cuda",
        precision: str = "auto",
        library: str = "tensorrt",
        cache: PlanCache | None = None,
    ) -> None:
        if not device.startswith("cuda"):
            raise EngineError(f"the {library} engine runs on NVIDIA GPUs, got device {device!r}; use --device cuda")
        precision = "fp16" if precision == "auto" else precision
        self.name = f"{library} {device} {precision}"
        self.max_batch = BUCKETS[-1]
        cache = cache or PlanCache()
        loaded = load_library(library)
        with gpu_failures_named(device):
            self.device = device_named(device)
        with gpu_failures_named(device), current_gpu(self.device):
            self.plan = stored_plan(cache, loaded, network, input_size, joints, precision, device)
            self._loaded = LoadedPlan(loaded, self.plan.data, self.device)
            self._graph_memory = GraphMemory()
            images, keypoints, present = (rows.to(self.device) for rows in blank(self.max_batch, input_size, joints))
            self._buckets = Buckets(self._recorded, (images, keypoints, present), BUCKETS)
        self.plan, self.parity = self._checked(cache, network, input_size, joints)

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        """See Engine."""
        return run_on_arrays(self, images, keypoints, present)

    @torch.inference_mode()
    def run(self, images: Tensor, keypoints: Tensor, present: Tensor) -> Outputs:
        """See TensorEngine."""
        with current_gpu(self.device):
            return self._buckets(images, keypoints, present)

    def _recorded(self, rows: Inputs) -> Callable[[], Outputs]:
        context = self._loaded.context(rows)
        if not context.recordable:
            _log.info("%s runs batches of %d without a CUDA graph", self.name, len(rows[0]))
            return context
        # Its warm-up runs, on a stream of their own, are what TensorRT wants before it is recorded.
        return CudaGraph(context, rows, self._graph_memory)

    def _checked(
        self, cache: PlanCache, network: nn.Module, input_size: tuple[int, int], joints: int
    ) -> tuple[StoredPlan, Parity]:
        """The plan, with the golden results stored beside it when they were not yet, and how near it comes to them."""
        inputs, plan = golden_inputs(input_size, joints), self.plan
        if "golden" not in plan.notes:
            reference = TorchEngine(network, input_size, joints, str(self.device), "fp32", (len(inputs[0]),))
            plan = cache.note(plan, {"golden": reference(*inputs)[0].tolist()})
        measured = parity(self, inputs, np.array(plan.notes["golden"], dtype=np.float32), _CHECKED_BATCHES)
        before, gpu = plan.notes.get("parity", {}), torch.cuda.get_device_name(self.device)
        if gpu not in before:
            plan = cache.note(plan, {"parity": {**before, gpu: measured.to_dict()}})
        return plan, measured


def stored_plan(
    cache: PlanCache,
    library: Library,
    network: nn.Module,
    input_size: tuple[int, int],
    joints: int,
    precision: str,
    device: str | None,
) -> StoredPlan:
    """The plan of a network from the cache, built where it is missing; not loaded, not checked.

    Args:
        device: "cuda" or "cuda:N"; None for a plan of TensorRT for RTX, which needs no GPU to be built.

    Raises:
        EngineError: a precision that plans do not have, no GPU where one is needed, or what the library says.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"the {library.name} engine has no precision {precision!r}; it has {', '.join(PRECISIONS)}")
    key = plan_key(library, network, input_size, joints, precision, device)

    def build() -> tuple[bytes, dict[str, Any]]:
        start = time.monotonic()
        target = "any RTX GPU" if library.portable else key.gpu
        _log.warning("building a %s %s plan for %s, once; this may take minutes", library.name, precision, target)
        data, way = build_plan(library, exported(network, input_size, joints, precision), precision)
        seconds = round(time.monotonic() - start, 1)
        return data, {"build_seconds": seconds, "built_by": way, "torch": torch.__version__}

    return cache.get_or_build(key, build)


def plan_key(
    library: Library,
    network: nn.Module,
    input_size: tuple[int, int],
    joints: int,
    precision: str,
    device: str | None,
) -> PlanKey:
    """See PlanKey. Plans of TensorRT for RTX are for any GPU. Raises EngineError where a GPU is needed."""
    if device is None and not library.portable:
        raise EngineError(f"{library.name} builds plans on the GPU that will run them, and none was given")
    gpu = ("any", "any", 0) if library.portable else _gpu(device)
    weights, code = weights_sha256(network), code_sha256(network)
    return PlanKey(weights, code, library.name, library.version, *gpu, precision, input_size, joints, BATCHES)


def _gpu(device: str | None) -> tuple[str, str, int]:
    found = torch.cuda.get_device_properties(device)
    return found.name, f"{found.major}.{found.minor}", found.multi_processor_count

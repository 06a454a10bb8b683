"""From an exported network to a TensorRT plan, by torch_tensorrt where it fits the library, else through ONNX.

The network is strongly typed: its precision is in the graph; TensorRT 11 has no builder flags for it left.
"""

import logging
import time
from typing import Any

from torch.export import ExportedProgram

from engines.engine import EngineError
from engines.onnx_export import MAX_BATCH, to_onnx
from engines.onnx_types import check_types
from engines.tensorrt_library import Library, library_logger, reason

# Smallest, usual and largest number of rows. Kernels are chosen for the usual one.
BATCHES = (1, 32, MAX_BATCH)
_SECONDS_BETWEEN_LINES = 2.0

_log = logging.getLogger(__name__)


def build_plan(library: Library, program: ExportedProgram, precision: str) -> tuple[bytes, str]:
    """A plan for BATCHES, and by which way it was made: "torch_tensorrt" or "onnx".

    Args:
        library: whose runtime will load the plan.
        program: see onnx_export.exported.
        precision: that it was exported in; the types are checked on the way.

    Raises:
        EngineError: what the library says when it does not build the network.
    """
    start = time.monotonic()
    plan, way = _by_torch_tensorrt(library, program), "torch_tensorrt"
    if plan is None:
        model = to_onnx(program)
        check_types(model, precision)
        _log.info("exported as ONNX, %.1f MB, %.0f s", len(model) / 1e6, time.monotonic() - start)
        plan, way = plan_from_onnx(library, model), "onnx"
    _log.info("built a plan of %.1f MB in %.0f s", len(plan) / 1e6, time.monotonic() - start)
    return plan, way


def plan_from_onnx(library: Library, model: bytes, batches: tuple[int, int, int] = BATCHES) -> bytes:
    """Parse and build an ONNX model whose first dimensions are the batch.

    Raises:
        EngineError: with what the library says, when it does not take the model.
    """
    trt, logger = library.module, library_logger(library)
    builder = _made(trt.Builder(logger), logger, "its builder did not start")
    # TensorRT 11 knows no other kind of network; 10 has to be asked for it.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if not trt.OnnxParser(network, logger).parse(model):
        raise EngineError(f"{library.name} {library.version} cannot read the network: {reason(logger)}")
    config = builder.create_builder_config()
    # FP32 is to be FP32: TF32 has the eleven bits of FP16.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.add_optimization_profile(_profile(builder, network, batches))
    monitor = _progress(library)
    config.progress_monitor = monitor
    plan = _made(builder.build_serialized_network(network, config), logger, "it cannot build the network")
    return bytes(memoryview(plan))


def _made(thing: Any, logger: Any, failure: str) -> Any:
    if thing is None:
        raise EngineError(f"TensorRT gave up: {failure} ({reason(logger)}); use --engine torch meanwhile")
    return thing


def _profile(builder: Any, network: Any, batches: tuple[int, int, int]) -> Any:
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        profile.set_shape(tensor.name, *((batch, *tuple(tensor.shape)[1:]) for batch in batches))
    return profile


def _progress(library: Library) -> Any:
    """Logs what the builder is doing, a line every few seconds."""
    trt = library.module

    class Progress(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.start = self.last = time.monotonic()
            self.totals: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.totals[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            now = time.monotonic()
            if now - self.last >= _SECONDS_BETWEEN_LINES:
                self.last = now
                total = self.totals.get(phase, 0)
                _log.info("%s, step %d of %d, %.0f s", phase, step + 1, total, now - self.start)
            return True

        def phase_finish(self, phase: str) -> None:
            self.totals.pop(phase, None)

    return Progress()


def _by_torch_tensorrt(library: Library, program: ExportedProgram) -> bytes | None:
    """The plan, or None where torch_tensorrt is missing, made for the other library, or refuses the network."""
    try:
        import torch_tensorrt
    except Exception as error:  # it raises a plain Exception when a shared library is missing
        _log.debug("torch_tensorrt cannot be used: %s", error)
        return None
    if bool(torch_tensorrt.ENABLED_FEATURES.tensorrt_rtx) != library.portable:
        return None
    inputs = [_input(torch_tensorrt, node) for node in program.graph.nodes if _is_input(program, node)]
    try:
        plan = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
            program, arg_inputs=inputs, disable_tf32=True, truncate_double=True, require_full_compilation=True
        )
    except Exception as error:  # whichever of its converters failed; the parser of ONNX has its own
        _log.warning("torch_tensorrt does not take the network (%s); building through ONNX", error)
        return None
    return bytes(plan)


def _is_input(program: ExportedProgram, node: Any) -> bool:
    return node.op == "placeholder" and node.name in program.graph_signature.user_inputs


def _input(torch_tensorrt: Any, node: Any) -> Any:
    value = node.meta["val"]
    smallest, usual, largest = ((batch, *value.shape[1:]) for batch in BATCHES)
    return torch_tensorrt.Input(min_shape=smallest, opt_shape=usual, max_shape=largest, dtype=value.dtype)

"""`python -m engines build|list|clear|export`: compiled TensorRT plans in the user's cache, and ONNX files."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from engines.engine import EngineError
from engines.onnx_export import PRECISIONS, exported, to_onnx
from engines.onnx_types import check_types
from engines.plan_cache import PlanCache
from engines.tensorrt_library import LIBRARIES, load_library

_NO_GPU = "none"
# Operations whose precision the export reports: where the arithmetic is, and where half precision would hurt.
_SHOWN = ("Conv", "ConvTranspose", "Softmax", "ReduceSum")
_OUT_OF_RESOURCES = 5
_INTERRUPTED = 130

_EXPORT_HELP = """writes one ONNX file (opset 20, weights inside, batch of 1 to 64):

  inputs   images       uint8 [batch, H, W, 3], BGR crops
           keypoints    float32 [batch, K, 2], input pose in crop pixels; anything finite where absent
           present      float32 [batch, K], 1 where the input has the joint, else 0
  outputs  refined      float32 [batch, K, 2], crop pixels
           expected_ks  float32 [batch, K, 2], expected keypoint similarity of refined and input joint; NaN without head

fp16 has half precision convolutions and stays FP32 from the softmax on; inputs and outputs are the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line -> exit code: 0 done, 2 usage, 3 bad input, 5 resources, 130 Ctrl-C."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("engines").setLevel(logging.INFO)
    try:
        print(parsed.run(parsed))
    except (EngineError, OSError) as error:
        return _failed(str(error), _OUT_OF_RESOURCES)
    except KeyboardInterrupt:
        return _failed("interrupted; the cache is as it was", _INTERRUPTED)
    except Exception as error:
        # Errors that the network's own package raises on purpose know their exit code.
        if not isinstance(code := getattr(error, "exit_code", None), int):
            raise
        return _failed(str(error), code)
    return 0


def _failed(message: str, exit_code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="build|list|clear|export")
    build = commands.add_parser("build", help="build, check and cache a plan before it is needed")
    _add_network(build, "fp16")
    build.add_argument("--engine", choices=LIBRARIES, default="tensorrt")
    build.add_argument(
        "--device", default="cuda", help="cuda, cuda:N, or none: build for any RTX GPU without one (tensorrt-rtx)"
    )
    build.set_defaults(run=_build)
    commands.add_parser("list", help="what is in the cache").set_defaults(run=_list)
    commands.add_parser("clear", help="remove all plans").set_defaults(run=_clear)
    export = commands.add_parser(
        "export", help="write ONNX", description=_EXPORT_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_network(export, "fp32")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    export.add_argument("--overwrite", action="store_true", help="replace an existing file")
    export.set_defaults(run=_export)
    return parser


def _add_network(parser: argparse.ArgumentParser, precision: str) -> None:
    parser.add_argument("--weights", default="lite", metavar="NAME|FILE", help="shipped or .safetensors (default lite)")
    parser.add_argument(
        "--subject", default="posefix_track.specimen:specimen", metavar="MODULE:FUNCTION",
        help="function of --weights and a number of rows whose result has network, input_size and joints",
    )  # fmt: skip
    parser.add_argument("--precision", choices=PRECISIONS, default=precision, help=f"default {precision}")


def _network(parsed: argparse.Namespace) -> tuple[nn.Module, tuple[int, int], int]:
    module, _, function = parsed.subject.partition(":")
    subject = getattr(importlib.import_module(module), function)(parsed.weights, 1)
    return subject.network, subject.input_size, subject.joints


def _build(parsed: argparse.Namespace) -> str:
    from engines.tensorrt_engine import stored_plan

    if parsed.device == _NO_GPU:
        network, input_size, joints = _network(parsed)
        library, cache = load_library(parsed.engine), PlanCache()
        plan = stored_plan(cache, library, network, input_size, joints, parsed.precision, None)
        return f"{_line(plan.path, plan.notes)}; it is checked when it is first loaded"
    return _built_and_checked(parsed)


def _built_and_checked(parsed: argparse.Namespace) -> str:
    from engines.engine import compile_engine
    from engines.tensorrt_engine import TensorRtEngine

    load_library(parsed.engine)  # says what is missing before anything is loaded
    engine = compile_engine(*_network(parsed), parsed.engine, parsed.device, parsed.precision)
    if not isinstance(engine, TensorRtEngine):
        raise EngineError(f"{engine.name} has no plan")
    return _line(engine.plan.path, engine.plan.notes)


def _list(parsed: argparse.Namespace) -> str:
    cache = PlanCache()
    return "\n".join([f"{cache.folder}:", *(_line(path, notes) for path, notes in cache.list())])


def _clear(parsed: argparse.Namespace) -> str:
    plans, size = PlanCache().clear()
    return f"removed {plans} plans, {size / 1e6:.1f} MB"


def _line(path: Path, notes: dict[str, Any]) -> str:
    """One plan: what it is for, how large, and how near to the FP32 network on which GPU."""
    key = notes.get("key")
    if not key:
        return f"{path.name}: not usable, its description cannot be read"
    size = "x".join(map(str, key["input_size"]))
    checked = [f"{gpu}: p99 {p['p99_px']:.3f} px off FP32" for gpu, p in notes.get("parity", {}).items()]
    return (
        f"{path.name}: {key['library']} {key['library_version']} {key['precision']}, {size}, {key['joints']} joints,"
        f" GPU {key['gpu']}, {notes['plan_bytes'] / 1e6:.1f} MB, built in {notes.get('build_seconds', '?')} s by"
        f" {notes.get('built_by', '?')}; {', '.join(checked) or 'not yet checked'}"
    )


def _export(parsed: argparse.Namespace) -> str:
    if parsed.output.exists() and not parsed.overwrite:
        raise EngineError(f"{parsed.output} exists; give another name or --overwrite")
    network, input_size, joints = _network(parsed)
    model = to_onnx(exported(network, input_size, joints, parsed.precision))
    types = check_types(model, parsed.precision)
    temporary = parsed.output.with_name(parsed.output.name + ".part")
    temporary.write_bytes(model)
    temporary.replace(parsed.output)
    counts = ", ".join(f"{n} {op} {kind}" for op in _SHOWN for kind, n in types.get(op, {}).items())
    return f"{parsed.output}: {len(model) / 1e6:.1f} MB, {parsed.precision}; {counts}"


if __name__ == "__main__":
    raise SystemExit(main())

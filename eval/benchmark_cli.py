"""`python -m eval make-benchmark` and `run-benchmark`: arguments, progress, the table and the JSON report."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from eval.benchmark_make import Settings, make_benchmark
from eval.output_files import write_json
from eval.posetrack import PosetrackResult
from eval.posetrack_metrics import by_name
from posefix_track.keypoints import POSETRACK_18

if TYPE_CHECKING:
    from eval.benchmark_run import Advance, TrackerResult
    from posefix_track.refiner import PoseRefiner

_SHOWN = {"ap": "mAP", "mota": "MOTA"}


def add_benchmark_parsers(subparsers: Any) -> None:
    """Adds both subcommands to what `ArgumentParser.add_subparsers` returned; ``run`` of a result does the work."""
    _add_make(subparsers)
    _add_run(subparsers)


def _add_make(subparsers: Any) -> None:
    usual = Settings()
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "make-benchmark",
        help="draw a small data set in PoseTrack's layout, with simulated trackers",
        description="Draws sequences of figures that cross one another, with PoseTrack 2018 ground truth and the output"
        " of simulated trackers of several qualities. The same options give the same files.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to; a folder that is empty or does not exist")
    for name, what in (("sequences", ""), ("frames", "in a sequence"), ("people", "annotated in a sequence")):
        text = f"{name} {what}".strip() + " (default: %(default)s)"
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name), metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=usual.seed, metavar="N", help="of everything random")
    parser.add_argument("--overwrite", action="store_true", help="replace a benchmark in DIR, with all its trackers")
    parser.set_defaults(run=run_make)


def _add_run(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "run-benchmark",
        help="refine and evaluate the trackers of a benchmark: mAP and MOTA before and after",
        description="Evaluates every tracker in DIR/trackers, refines its poses into DIR/refined/<weights>/<tracker>,"
        " and evaluates these. PoseTrack data laid out like a benchmark works as well.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="what make-benchmark made")
    parser.add_argument("--weights", default="lite", help="a shipped name (default: lite) or a .safetensors file")
    parser.add_argument("--trackers", nargs="+", metavar="NAME", help="only these folders of DIR/trackers")
    parser.add_argument(
        "--engine", default="auto", help="auto, tensorrt, tensorrt-rtx, torch or openvino; never replaced silently"
    )
    parser.add_argument("--no-flip", dest="flip", action="store_false", help="twice as fast, a little less accurate")
    parser.add_argument("--no-gate", dest="gate", action="store_false", help="move every joint, as the paper does")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write everything to this file (null: undefined)")
    parser.set_defaults(run=run_run)


def run_make(arguments: argparse.Namespace) -> int:
    """Makes a benchmark. Returns 0; raises the errors of `make_benchmark`."""
    settings = Settings(arguments.sequences, arguments.frames, arguments.people, arguments.seed)
    with _progress("drawing sequences", settings.sequences) as bar:
        make_benchmark(arguments.folder, settings, arguments.overwrite, lambda: bar.advance(bar.task_ids[0]))
    Console(soft_wrap=True).print(
        f"{arguments.folder}: {settings.sequences} sequences of {settings.frames} frames;"
        f" next: python -m eval run-benchmark {arguments.folder}",
        highlight=False,
    )
    return 0


def run_run(arguments: argparse.Namespace) -> int:
    """Refines, evaluates, prints the table. Returns 0; raises the errors of `run_benchmark` and PoseRefiner."""
    # Torch takes seconds to import, and no other command of `python -m eval` needs it.
    from eval.benchmark_run import find_trackers, run_benchmark
    from posefix_track.refiner import PoseRefiner

    trackers = find_trackers(arguments.folder, arguments.trackers)
    refiner = PoseRefiner(
        arguments.weights, keypoints=POSETRACK_18, engine=arguments.engine, flip=arguments.flip, gate=arguments.gate
    )
    with _progress("refining", None) as bar:
        results = run_benchmark(arguments.folder, refiner, Path(arguments.weights).stem, trackers, _shown_by(bar))
    console = Console()
    console.print(benchmark_table(results))
    console.print(_account(results[0].before, refiner), style="dim", highlight=False)
    write_json(arguments.json, _report(arguments, refiner, results))
    return 0


def benchmark_table(results: "Sequence[TrackerResult]") -> Table:
    """Tracker, mAP and MOTA (percent) as they came, and refined with the difference in brackets."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("tracker", overflow="fold")
    for heading in (*_SHOWN.values(), *(f"{name} + refinement" for name in _SHOWN.values())):
        table.add_column(heading, justify="right")
    for result in results:
        before, after = _totals(result.before), _totals(result.after)
        refined = [_change(old, new) for old, new in zip(before, after, strict=True)]
        table.add_row(result.tracker, *map(_number, before), *refined)
    return table


def _totals(result: PosetrackResult) -> list[float | None]:
    return [by_name(result.metrics[metric])["total"] for metric in _SHOWN]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _change(before: float | None, after: float | None) -> str:
    return _number(after) if before is None or after is None else f"{after:.1f} ({after - before:+.1f})"


def _account(result: PosetrackResult, refiner: "PoseRefiner") -> str:
    ways = [name for name, on in (("flip", refiner.flip), ("gate", refiner.gate)) if on]
    return (
        f"{result.sequences} sequences, {result.frames} labelled frames; {refiner.engine_name},"
        f" weights {refiner.loaded.sha256[:12]}, {' and '.join(ways) or 'neither flip nor gate'}"
    )


def _report(
    arguments: argparse.Namespace, refiner: "PoseRefiner", results: "Sequence[TrackerResult]"
) -> dict[str, Any]:
    return {
        "benchmark": str(arguments.folder),
        "weights": str(arguments.weights),
        "weights_sha256": refiner.loaded.sha256,
        "engine": refiner.engine_name,
        "flip": refiner.flip,
        "gate": refiner.gate,
        "trackers": {result.tracker: result.to_dict() for result in results},
    }


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Progress]:
    """A bar on stderr with one task; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        bar.add_task(what, total=total)
        yield bar


def _shown_by(bar: Progress) -> "Advance":
    def advance(tracker: str, done: int, total: int) -> None:
        bar.update(bar.task_ids[0], description=f"refining {tracker}", completed=done, total=total)

    return advance

"""The command line: arguments -> one call; the only place that prints."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engines.engine import PRECISIONS
from posefix_track import __version__
from posefix_track.convert_cli import run_convert
from posefix_track.downloads import with_hash
from posefix_track.errors import IncompleteError, PosefixError, UsageError
from posefix_track.formats import known_formats
from posefix_track.interruption import INTERRUPTED, TERMINATED, TerminatedError, ending_in_time, leave_the_pipe
from posefix_track.job import Job, Outcome, run_job
from posefix_track.quantise_cli import run_quantise
from posefix_track.reading_options import CommandParser, add_reading_options
from posefix_track.refine import MAX_LATENCY, MAX_MISSING, Options
from posefix_track.report import OUTSIDE_RANGE, Report
from posefix_track.weights import SHIPPED

_COMMANDS = {"convert": run_convert, "quantise": run_quantise}
_STRICT = 1
_OUT_OF_RESOURCES = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        exit code: 0 done, 1 done with warnings under --strict, 2 usage, 3 bad input, 4 in part, 5 resources, 130
        Ctrl-C, 143 SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parsed = None if arguments[:1] and arguments[0] in _COMMANDS else _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with ending_in_time():
        try:
            return _run(parsed, arguments)
        except PosefixError as error:
            return _failed(_with_notes(str(error), error), error.exit_code)
        except KeyboardInterrupt as error:
            message = "interrupted" if hasattr(error, "__notes__") else "interrupted; nothing was written"
            exit_code = TERMINATED if isinstance(error, TerminatedError) else INTERRUPTED
            return _failed(_with_notes(message, error), exit_code)
        except MemoryError as error:
            return _failed(_with_notes("out of memory; try a smaller --batch-size", error), _OUT_OF_RESOURCES)


def _run(parsed: argparse.Namespace | None, arguments: Sequence[str]) -> int:
    if parsed is None:
        _say(_COMMANDS[arguments[0]](arguments[1:]))
        return 0
    parsed.weights = with_hash(parsed.weights, parsed.weights_sha256)
    if parsed.demo is not None:
        from posefix_track.demo import run_demo

        _say(run_demo(parsed.demo, parsed.device, parsed.engine, parsed.weights, parsed.overwrite))
        return 0
    return _refine(parsed)


def _say(text: str) -> None:
    """Print for whoever still listens: the reader of a pipe may have gone, and what was written is written."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        leave_the_pipe()


def _with_notes(message: str, error: BaseException) -> str:
    """The message with what the journal notes about frames that are kept."""
    return "; ".join([message, *getattr(error, "__notes__", [])])


def _failed(message: str, exit_code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    formats = "\n".join(f"  {name:16} {description}" for name, description in known_formats())
    parser = CommandParser(
        prog="posefix-track",
        usage="%(prog)s VIDEO|FOLDER --poses FILE|DIR [-o OUT] [options]",
        description="Makes any tracker's human poses better: looks at the pixels again and moves every joint to where"
        " it really is. Same people, ids, order and fields out as in.",
        epilog=f"pose formats (told from the content):\n{formats}\n\nexit codes: 0 done, 1 done with warnings and"
        " --strict, 2 usage, 3 bad input, 4 done in part, 5 out of resources,\n130 interrupted, 143 terminated\n\n"
        "another format: posefix-track convert POSES --to FORMAT\n"
        "weights in INT8, for CPUs: posefix-track quantise VIDEO --poses FILE --weights FILE",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="?", type=Path, metavar="VIDEO|FOLDER", help="a video, or a folder of images")
    parser.add_argument("--poses", type=Path, metavar="FILE|DIR", help="the tracker's poses")
    parser.add_argument("-o", "--output", metavar="OUT", help="default: <poses>.refined beside the poses")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run of the same job stopped")
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="stop then, and keep what is done for --resume"
    )
    parser.add_argument(
        "--demo", nargs="?", type=Path, const=Path("demo"), metavar="DIR", help="try it on a drawn clip"
    )
    parser.add_argument("--version", action="version", version=f"posefix-track {__version__}")
    _add_input_options(parser.add_argument_group("reading"))
    _add_refiner_options(parser.add_argument_group("refining"))
    _add_output_options(parser.add_argument_group("output"))
    return parser


def _add_input_options(group: "argparse._ArgumentGroup") -> None:
    add_reading_options(group)
    group.add_argument(
        "--frames", type=_frame_range, metavar="A-B", help="refine only these frames, 0-based, inclusive"
    )
    group.add_argument(
        "--first-frame", type=_number, default=0, metavar="N",
        help="number of the first frame in poses that should count from 0 (default 0); formats that count from 1 are"
        " known",
    )  # fmt: skip
    group.add_argument(
        "--max-missing", type=float, default=MAX_MISSING, metavar="SHARE",
        help=f"share of poses that may lack their picture before the run is refused (default {MAX_MISSING})",
    )  # fmt: skip


def _add_refiner_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--weights", default="lite", metavar="FILE|URL",
                       help=f"{', '.join(SHIPPED)}, or a .safetensors file (default lite)")  # fmt: skip
    group.add_argument("--weights-sha256", metavar="HEX", help="hash of the weights, needed for a URL")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    group.add_argument(
        "--engine", default="auto", help="auto, tensorrt, tensorrt-rtx, torch or openvino; never replaced silently"
    )
    group.add_argument("--precision", choices=PRECISIONS, default="auto",
                       help="of the arithmetic (default auto: the fastest that was found accurate)")  # fmt: skip
    group.add_argument("--batch-size", type=_positive, metavar="N", help="people per engine call")
    group.add_argument("--max-latency", type=_positive, default=MAX_LATENCY, metavar="FRAMES",
                       help=f"frames whose people may wait for each other (default {MAX_LATENCY})")  # fmt: skip
    group.add_argument("--no-flip", dest="flip", action="store_false", help="twice as fast, a little less accurate")
    group.add_argument("--no-gate", dest="gate", action="store_false", help="move every joint, as the paper does")
    group.add_argument("--fill-missing", action="store_true", help="also give joints that the tracker did not find")


def _add_output_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--save-video", nargs="?", type=Path, const=Path(), metavar="PATH", help="write an overlay video"
    )
    group.add_argument("--compare", action="store_true", help="overlay video shows input and refined side by side")
    group.add_argument("--scores", choices=["keep", "refined"], default="keep",
                       help="scores: the tracker's, or the expected keypoint similarity of each joint, and each"
                       " person's score times its mean")  # fmt: skip
    group.add_argument("--drop-below", type=_share, metavar="S",
                       help="leave out joints with less expected similarity, 0 to 1")  # fmt: skip
    group.add_argument("--oks-nms", type=float, metavar="OKS",
                       help="drop poses that repeat another of their picture (COCO, PoseTrack)")  # fmt: skip
    group.add_argument("--strict", action="store_true", help="exit code 1 unless everybody was looked at")
    group.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _frame_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"expected FIRST-LAST such as 0-99, got {text!r}")
    return int(first), int(last)


def _number(text: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a number of at least {least}, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    return _number(text, least=1)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # Not a number is neither below nor above anything.
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return seconds


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a similarity from 0 to 1, got {text!r}")
    return share


def _refine(parsed: argparse.Namespace) -> int:
    if parsed.source is None or parsed.poses is None:
        raise UsageError("give a video or image folder and --poses FILE (or --demo to try it on a drawn clip)")
    if parsed.compare and parsed.save_video is None:
        parsed.save_video = Path()
    job = Job(
        source=parsed.source,
        poses=parsed.poses,
        output=_output(parsed.output, parsed.poses),
        overwrite=parsed.overwrite,
        resume=parsed.resume,
        format=parsed.format,
        keypoints=parsed.keypoints,
        annotations=parsed.annotations,
        save_video=parsed.save_video,
        compare=parsed.compare,
        oks_nms=parsed.oks_nms,
        timeout_seconds=parsed.timeout,
        options=Options(
            frames=parsed.frames,
            scores=parsed.scores,
            drop_below=parsed.drop_below,
            max_missing=parsed.max_missing,
            max_latency=parsed.max_latency,
            first_frame=parsed.first_frame,
        ),
        refiner={name: getattr(parsed, name) for name in
                 ("weights", "device", "engine", "precision", "batch_size", "flip", "gate", "fill_missing")},
    )  # fmt: skip
    with _progress(parsed.quiet) as progress:
        outcome = run_job(job, progress)
    _say(orjson.dumps(outcome.to_dict()).decode() if parsed.json else _summary(outcome))
    return _exit_code(outcome.report, parsed.strict)


def _output(text: str | None, poses: Path) -> Path | None:
    """Where refined poses go: a text that ends in a slash is a folder, also where there is none yet."""
    if text == "-":
        raise UsageError("refined poses are written to a file or folder, not to the standard output; give -o a name")
    if text is not None and text.endswith(("/", os.sep)) and not poses.is_dir():
        return Path(text, poses.name)
    return None if text is None else Path(text)


class _progress:  # noqa: N801 - used as a function
    """Shows frames, people per second and the remaining time on stderr; nothing where stderr is no terminal."""

    def __init__(self, quiet: bool) -> None:
        columns = (
            TextColumn("refining"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )  # fmt: skip
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)
        self._task = self._bar.add_task("refining", total=None, rate="")

    def __enter__(self) -> "_progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, report: Report, total: int | None) -> None:
        elapsed = max(self._bar.tasks[self._task].elapsed or 0.0, 1e-3)
        rate = f"{report.frames / elapsed:.1f} frames/s, {report.people / elapsed:.1f} people/s"
        self._bar.update(self._task, completed=report.frames, total=total, rate=rate)


def _summary(outcome: Outcome) -> str:
    report = outcome.report
    return (
        f"{outcome.output}: moved {report.joints_moved} of {report.joints} joints of {report.people} people"
        f" by {report.mean_shift_px:.2f} px on average (95 % by less than {report.shift_percentile_px(95):.2f})"
        f" on {report.frames} frames in {report.seconds['total']:.1f} s, {outcome.engine}"
    )


def _exit_code(report: Report, strict: bool) -> int:
    parts = list(report.warnings)
    if report.people and report.people_passed_through.get(OUTSIDE_RANGE) == report.people:
        parts.append("no poses lie within --frames, so none were refined")
    if report.missing_frames:
        named = "; ".join(report.missing[:3]) + (" ..." if report.missing_frames > 3 else "")
        parts.append(f"poses of {report.missing_frames} frames passed through unchanged: {named}")
    if parts:
        return _failed("done in part: " + "; ".join(parts), _STRICT if strict else IncompleteError.exit_code)
    passed_through = {reason: n for reason, n in report.people_passed_through.items() if reason != OUTSIDE_RANGE}
    if strict and passed_through:
        listed = "; ".join(f"{people} people {reason}" for reason, people in passed_through.items())
        return _failed(f"done, but --strict: passed through unchanged: {listed}", _STRICT)
    return 0

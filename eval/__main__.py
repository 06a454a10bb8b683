"""`python -m eval`: judges poses. Arguments in, tables out; the exit codes are those of ``posefix_track.errors``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.benchmark_cli import add_benchmark_parsers
from eval.calibration_cli import add_calibration_parser, calibrate
from eval.coco import coco_ap
from eval.coco_files import read_json
from eval.coco_pck import pck
from eval.diagnose import diagnose
from eval.diagnose_files import read_comparison
from eval.diagnose_output import diagnosis_dict, diagnosis_text, failed_conditions
from eval.diagnose_sigmas import read_sigmas
from eval.diagnose_tables import DiagnosisTables
from eval.jitter import compare_jitter
from eval.output_files import write_json, write_output
from eval.posetrack_cli import add_posetrack_parser
from eval.report import ReportExtras, coco_average_precision, report_page
from posefix_track.error_classes import GOOD_FROM, MISS_BELOW
from posefix_track.errors import InputError, PosefixError
from posefix_track.interruption import leave_the_pipe

Arguments = argparse.Namespace

# What a shell says of a program that a pipe without a reader has ended.
_NOBODY_LISTENS = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        exit_code = int(parsed.run(parsed))
        sys.stdout.flush()
    except PosefixError as error:
        print(f"error: {error}", file=sys.stderr)
        exit_code = error.exit_code
    except BrokenPipeError:
        # Whoever read the table, such as `head`, has seen enough.
        leave_the_pipe()
        exit_code = _NOBODY_LISTENS
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m eval", description="Judge poses, before and after refinement.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_posetrack_parser(commands)
    _add_coco(commands)
    _add_pck(commands)
    _add_diagnose(commands)
    _add_jitter(commands)
    _add_json(add_calibration_parser(commands, _run_calibration))
    _add_report(commands)
    add_benchmark_parsers(commands)
    return parser


def _add_coco(commands: Any) -> None:
    parser = commands.add_parser("coco", help="COCO keypoint AP and AR")
    parser.add_argument("--gt", type=Path, required=True, metavar="FILE", help="COCO keypoint annotations")
    parser.add_argument("--pred", type=Path, required=True, metavar="FILE", help="COCO keypoint results")
    _add_json(parser)
    parser.set_defaults(run=_run_coco)


def _add_pck(commands: Any) -> None:
    parser = commands.add_parser("pck", help="share of joints within a fraction of the longer box side")
    parser.add_argument("--gt", type=Path, required=True, metavar="FILE", help="COCO layout, any known keypoint set")
    parser.add_argument("--pred", type=Path, required=True, metavar="FILE", help="results; joints are matched by name")
    parser.add_argument("--fraction", type=float, default=0.1, help="of the longer box side (default: %(default)s)")
    _add_json(parser)
    parser.set_defaults(run=_run_pck)


def _add_diagnose(commands: Any) -> None:
    parser = commands.add_parser("diagnose", help="kinds of errors before and after, with transitions and harm rate")
    _add_sides(parser)
    parser.add_argument("--match-oks", type=float, default=0.1, help="least OKS of a match (default: %(default)s)")
    parser.add_argument(
        "--ks", type=_two_numbers, default=(MISS_BELOW, GOOD_FROM), metavar="MISS,GOOD", help="KS limits"
    )
    parser.add_argument(
        "--pair", choices=("before", "each"), default="before",
        help="a person keeps the pose matched before (default), or both sides are matched on their own",
    )  # fmt: skip
    parser.add_argument(
        "--fail-if", nargs="+", default=[], metavar="CONDITION",
        help="exit with 1 if one holds: 'good<+1.0' (change in percent), 'harm>0.5', 'miss>10' (after, in percent)",
    )  # fmt: skip
    _add_json(parser)
    parser.set_defaults(run=_run_diagnose)


def _add_jitter(commands: Any) -> None:
    parser = commands.add_parser("jitter", help="restlessness of two pose files of a video, without ground truth")
    parser.add_argument("--poses", type=Path, nargs=2, required=True, metavar=("BEFORE", "AFTER"), help="pose files")
    parser.add_argument("--fps", type=float, help="frames per second, to give the acceleration in seconds as well")
    _add_json(parser)
    parser.set_defaults(run=_run_jitter)


def _add_report(commands: Any) -> None:
    parser = commands.add_parser("report", help="one self-contained web page of before and after")
    _add_sides(parser)
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, for pictures of people")
    parser.add_argument(
        "--posetrack-json", type=Path, nargs=2, metavar=("BEFORE", "AFTER"),
        help="what `python -m eval posetrack --json` wrote for the two sides",
    )  # fmt: skip
    parser.add_argument("--title", default="Poses before and after refinement", help="heading of the page")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="HTML", help="the page to write")
    parser.set_defaults(run=_run_report)


def _add_sides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gt", type=Path, required=True, help="COCO annotations, or PoseTrack 2018 file or folder")
    parser.add_argument("--before", type=Path, required=True, help="poses that went in, in the layout of --gt")
    parser.add_argument("--after", type=Path, required=True, help="poses that came out")
    parser.add_argument("--sigmas", metavar="coco|posetrack|FILE", help="OKS constants (default: by joint name)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file too")


def _two_numbers(text: str) -> tuple[float, float]:
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(f"expected two numbers such as 0.5,0.85, got {text!r}")
    return numbers[0], numbers[1]


def _run_coco(arguments: Arguments) -> int:
    summary = coco_ap(arguments.gt, arguments.pred)
    print(summary.table())
    write_json(arguments.json, summary.to_dict())
    return 0


def _run_pck(arguments: Arguments) -> int:
    summary = pck(arguments.gt, arguments.pred, arguments.fraction)
    print(summary.table())
    write_json(arguments.json, summary.to_dict())
    return 0


def _run_diagnose(arguments: Arguments) -> int:
    tables = _tables(arguments, match_oks=arguments.match_oks, thresholds=arguments.ks, pairing=arguments.pair)
    failures = failed_conditions(tables, arguments.fail_if)
    print(diagnosis_text(tables))
    write_json(arguments.json, diagnosis_dict(tables))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _run_jitter(arguments: Arguments) -> int:
    comparison = compare_jitter(*arguments.poses)
    print(comparison.table(arguments.fps))
    write_json(arguments.json, comparison.to_dict(arguments.fps))
    return 0


def _run_calibration(arguments: Arguments) -> int:
    text, content = calibrate(arguments)
    print(text)
    write_json(arguments.json, content)
    return 0


def _run_report(arguments: Arguments) -> int:
    tables = _tables(arguments)
    files = arguments.gt, arguments.before, arguments.after
    extras = ReportExtras(
        title=arguments.title,
        ap=coco_average_precision(tables.diagnosis.comparison, *files),
        posetrack=arguments.posetrack_json and _posetrack_reports(arguments.posetrack_json),
        images=arguments.images,
        sources="Annotations {}, before {}, after {}.".format(*(path.name for path in files)),
    )
    write_output(arguments.output, report_page(tables, extras).encode())
    print(f"wrote {arguments.output}")
    return 0


def _posetrack_reports(paths: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    reports = [read_json(path) for path in paths]
    for path, report in zip(paths, reports, strict=True):
        if not isinstance(report, dict):
            raise InputError(f"{path}: expected what `python -m eval posetrack --json` writes")
    return reports[0], reports[1]


def _tables(arguments: Arguments, **options: Any) -> DiagnosisTables:
    comparison = read_comparison(arguments.gt, arguments.before, arguments.after)
    sigmas = read_sigmas(arguments.sigmas, comparison.keypoint_set)
    return DiagnosisTables(diagnose(comparison, sigmas, **options))


if __name__ == "__main__":
    sys.exit(main())

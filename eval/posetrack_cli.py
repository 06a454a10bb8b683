"""`python -m eval posetrack`: arguments, tables and the JSON report."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from eval.output_files import write_json
from eval.posetrack import PosetrackResult, default_workers, evaluate_posetrack, paired_files
from eval.posetrack_frames import GROUPS, JOINTS
from eval.posetrack_metrics import Metrics, by_group, by_name
from eval.posetrack_official import check_official, official_metrics

_COLUMNS = {
    "ap": "AP", "mota": "MOTA", "motp": "MOTP", "mot_precision": "Prec", "mot_recall": "Rec",
    "hota": "HOTA", "deta": "DetA", "assa": "AssA",
}  # fmt: skip


def add_posetrack_parser(subparsers: Any) -> None:
    """Adds the subcommand to what `ArgumentParser.add_subparsers` returned; ``run`` of its result does the work."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "posetrack",
        help="PoseTrack AP, MOTA, MOTP and HOTA of pose files",
        description="PoseTrack AP, MOTA, MOTP (percent, as poseval counts them, but MOTP done right) and keypoint HOTA "
        "of PoseTrack 2018, PoseTrack21 or PoseTrack 2017 files.",
    )
    parser.add_argument("--gt", type=Path, required=True, metavar="DIR", help="ground truth, one file per sequence")
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR", help="predictions under the same file names")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write everything to this file (null: undefined)")
    parser.add_argument("--per-sequence", action="store_true", help="also evaluate every sequence alone")
    parser.add_argument("--workers", type=_positive, metavar="N", help="processes (default: by number of sequences)")
    parser.add_argument("--strict", action="store_true", help="count every labelled frame and person, unlike poseval")
    parser.add_argument("--official", action="store_true", help="run poseval as well and show both side by side")
    parser.set_defaults(run=run_posetrack)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"needs at least 1, got {number}")
    return number


def run_posetrack(arguments: argparse.Namespace) -> int:
    """Evaluates, prints tables, writes the report. Returns 0; raises the errors of `evaluate_posetrack`."""
    if arguments.official:
        check_official()
    result = evaluate_posetrack(
        arguments.gt,
        arguments.pred,
        strict=arguments.strict,
        per_sequence=arguments.per_sequence,
        workers=arguments.workers or default_workers(len(paired_files(arguments.gt, arguments.pred))),
    )
    official = official_metrics(arguments.gt, arguments.pred) if arguments.official else None
    _print(result, official)
    write_json(arguments.json, report_of(result, official))
    return 0


def report_of(result: PosetrackResult, official: Metrics | None) -> dict[str, Any]:
    """The JSON report; ``official`` adds poseval's own numbers under that name."""
    added = {} if official is None else {"official": {name: by_name(values) for name, values in official.items()}}
    return {**result.to_dict(), **added}


def _print(result: PosetrackResult, official: Metrics | None) -> None:
    console = Console()
    console.print(_joint_table(result))
    if result.per_sequence:
        console.print(_sequence_table(result))
    if official is not None:
        console.print(_official_table(result.metrics, official))
    for note in result.notes:
        console.print(note, style="dim", highlight=False)


def _joint_table(result: PosetrackResult) -> Table:
    mode = "strict" if result.strict else "as poseval counts"
    table = _table(f"PoseTrack, percent, {mode}: {result.sequences} sequences, {result.frames} frames", "")
    for rows, name_of in ((JOINTS, by_name), (GROUPS, by_group), (("total",), by_name)):
        table.add_section()
        named = [name_of(result.metrics[column]) for column in _COLUMNS]
        for row in rows:
            table.add_row(row, *_cells(values[row] for values in named))
    return table


def _sequence_table(result: PosetrackResult) -> Table:
    table = _table("Every sequence alone, total", "sequence")
    for name, metrics in result.per_sequence.items():
        table.add_row(name, *_cells(by_name(metrics[column])["total"] for column in _COLUMNS))
    return table


def _table(title: str, corner: str) -> Table:
    table = _plain_table(title)
    table.add_column(corner, overflow="fold")
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _plain_table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _official_table(ours: Metrics, official: Metrics) -> Table:
    table = _plain_table("Beside poseval (total)")
    for heading in ("", "here", "poseval", "largest difference of a joint"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, theirs in official.items():
        difference = np.abs(ours[name] - theirs)
        defined = difference[~np.isnan(difference)]
        shown = _cells([by_name(ours[name])["total"], by_name(theirs)["total"]])
        table.add_row(name, *shown, f"{defined.max():.1e}" if len(defined) else "-")
    return table


def _cells(values: Iterable[float | None]) -> list[str]:
    return ["-" if value is None else f"{value:.1f}" for value in values]

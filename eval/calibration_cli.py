"""`python -m eval calibration`: reliability of the expected similarities, and gates beside the oracle."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eval.calibration import BINS, GateResult, JudgedJoints, Reliability, gate_results, judged_joints, reliability
from eval.diagnose_files import read_comparison
from posefix_track.gate import Gate
from posefix_track.refiner import PoseRefiner

# The default first.
GATES = (
    Gate(),
    *(
        Gate(margin, width, slope)
        for slope in (0.0, 0.08, 0.2)
        for width in (0.0, 0.05, 0.08)
        for margin in (-0.1, 0.0, 0.02)
    ),
)


def add_calibration_parser(commands: Any, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    """Add the command, which ``run`` carries out."""
    parser = commands.add_parser("calibration", help="can the network's own expectations be trusted, and what gates do")
    parser.add_argument("--gt", type=Path, required=True, help="COCO annotations, or a PoseTrack 2018 file or folder")
    parser.add_argument("--poses", type=Path, required=True, help="a tracker's poses in the layout of --gt")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--weights", default="lite", help="weights file or shipped name (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the reliability diagram")
    parser.set_defaults(run=run)
    return parser  # type: ignore[no-any-return]


def calibrate(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Run the command -> its text and the content of its JSON file."""
    keypoints = read_comparison(arguments.gt, arguments.poses, arguments.poses).keypoint_set
    refiner = PoseRefiner(arguments.weights, keypoints=keypoints)
    joints = judged_joints(arguments.gt, arguments.poses, arguments.images, refiner)
    sides = _sides(joints)
    gates = gate_results(joints, GATES)
    if arguments.plot is not None:
        _plot(sides, arguments.plot)
    content = {
        "joints": len(joints.before),
        "sides": {name: _plain(side) for name, side in sides.items()},
        "gates": [vars(gate) for gate in gates],
    }
    return "\n\n".join([*(_side_text(name, side) for name, side in sides.items()), _gate_text(gates)]), content


def _sides(joints: JudgedJoints) -> dict[str, Reliability]:
    refined, tracker = joints.similarity(joints.refined), joints.similarity(joints.before)
    return {
        "refined": reliability(joints.expected_ks[:, 0], refined),
        "tracker": reliability(joints.expected_ks[:, 1], tracker),
    }


def _plain(side: Reliability) -> dict[str, Any]:
    expected, true = ([None if np.isnan(v) else v for v in column.tolist()] for column in (side.expected, side.true))
    return {"count": side.count.tolist(), "expected": expected, "true": true, "error": side.error}


def _side_text(name: str, side: Reliability) -> str:
    rows = [
        f"  {i / BINS:.1f} to {(i + 1) / BINS:.1f}  {side.count[i]:6d}  {side.expected[i]:8.3f}  {side.true[i]:8.3f}"
        for i in np.flatnonzero(side.count)
    ]
    title = f"{name} positions: expected calibration error {side.error:.3f}"
    return "\n".join([title, "  expected    joints  expected      true", *rows])


def _gate_text(gates: list[GateResult]) -> str:
    head = f"{'rule':38}{'mean KS':>9}{'good':>9}{'harm':>9}{'healed':>9}"
    rows = [f"{g.name:38}{g.similarity:9.4f}{g.good:9.2%}{g.harm:9.2%}{g.healed:9.2%}" for g in gates]
    return "\n".join([head, *rows])


def _plot(sides: dict[str, Reliability], path: Path) -> None:
    # Imported here: only this option needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    for axes, (name, side) in zip(figure.subplots(1, 2), sides.items(), strict=True):
        shown = side.count > 0
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axes.plot(side.expected[shown], side.true[shown], marker="o")
        counts = axes.twinx()
        counts.bar(np.arange(BINS) / BINS + 0.5 / BINS, side.count, width=0.8 / BINS, color="0.85", zorder=0)
        counts.set_yticks([])
        axes.set_zorder(counts.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.set(title=f"{name}, ECE {side.error:.3f}", xlabel="expected similarity", ylabel="true", ylim=(0, 1))
    figure.savefig(path, dpi=100)

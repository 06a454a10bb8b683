"""COCO AP of poses refined in every precision, and the speed of the whole runs.

    python benchmarks/precision_ap.py --images DIR --annotations person_keypoints.json --poses results.json

AP of the tracker's own poses comes first. Needs pycocotools.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from eval.coco import CocoSummary, coco_ap
from posefix_track.job import Job, run_job


def main() -> None:
    """Refine, evaluate and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--annotations", type=Path, required=True, metavar="FILE", help="ground truth, COCO layout")
    parser.add_argument("--poses", type=Path, required=True, metavar="FILE", help="COCO results")
    parser.add_argument("--weights", default="lite")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--no-gate", dest="gate", action="store_false", help="move every joint")
    arguments = parser.parse_args()
    print("| poses | flip test | AP | AP50 | AP75 |\n|---|---|---|---|---|")
    print(_row("tracker", "", coco_ap(arguments.annotations, arguments.poses)))
    for precision in arguments.precisions:
        for flip in (True, False):
            print(_row(precision, "yes" if flip else "no", _refined(arguments, precision, flip)))


def _refined(arguments: argparse.Namespace, precision: str, flip: bool) -> CocoSummary:
    refiner = {
        "weights": arguments.weights,
        "precision": precision,
        "flip": flip,
        "gate": arguments.gate,
        "device": "cpu",
    }
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "refined.json")
        run_job(Job(arguments.images, arguments.poses, output, annotations=arguments.annotations, refiner=refiner))
        return coco_ap(arguments.annotations, output)


def _row(name: str, flip: str, summary: CocoSummary) -> str:
    return f"| {name} | {flip} | {summary.ap * 100:.1f} | {summary.ap50 * 100:.1f} | {summary.ap75 * 100:.1f} |"


if __name__ == "__main__":
    main()

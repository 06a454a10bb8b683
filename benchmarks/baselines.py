"""PoseFix, IntegralPose, PoseRefiner and PoseFix's ablations: same data, same light backbone, same number of samples.

    python benchmarks/baselines.py --data ROOT --imagenet mobilenetv2.onnx --out FOLDER [--samples 12000] [--only NAME]

Trains trainer/recipes/ablations/*.toml and trainer/recipes/baselines/*.toml one after the other, or goes on where it
was interrupted. Refines another estimator's poses with each: COCO AP on two sets of pictures, and on LSPET the share of
joints within a tenth of the box's longer side; without the gate (what was published) and with it.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np

from engines import Engine, compile_engine
from eval.coco import coco_ap
from eval.coco_pck import pck
from posefix_track.refiner import PoseRefiner
from posefix_track.weights import Weights, load_weights
from trainer.images import Images
from trainer.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = {
    path.stem: path
    for folder in ("ablations", "baselines")
    for path in sorted((ROOT / "trainer" / "recipes" / folder).glob("*.toml"))
}


@dataclass(frozen=True)
class Validation:
    """Annotations, another estimator's poses on their boxes, and the pictures, below the data root."""

    truth: str
    poses: str
    images: tuple[str, ...]
    measure: str


VALIDATIONS = {
    "COCO 60": Validation("coco/person_keypoints_val.json", "coco/simplepose_val.json", ("coco/images/val",), "AP"),
    "COCO 100": Validation("coco/person_keypoints_val2.json", "coco/simplepose_val2.json", ("coco/images/val2",), "AP"),
    "LSPET": Validation("lspet/val.json", "lspet/simplepose_val.json", ("lspet/val.tar",), "PCK"),
}


def train(name: str, samples: int, arguments: argparse.Namespace) -> Path:
    """Run one recipe for ``samples`` people through the trainer's own command; its weights file."""
    folder: Path = arguments.out / f"{name}-{samples}"
    folder.mkdir(parents=True, exist_ok=True)
    steps = samples // read_recipe(RECIPES[name]).train.batch_size
    recipe = folder / "recipe.toml"
    recipe.write_text(f"extends = {json.dumps(str(RECIPES[name]))}\n\n[train]\nsteps = {steps}\n")
    command = [sys.executable, "-m", "trainer", str(recipe), "--data", str(arguments.data), "--out", str(folder)]
    command += ["--imagenet", str(arguments.imagenet), "--workers", str(arguments.workers)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder / "weights.safetensors"


def score(path: Path, data: Path, reading: str) -> dict[str, float]:
    """Percent by validation set and whether the gate was on; ``reading`` is how softmax heatmaps are read."""
    weights = load_weights(path)
    config = weights.network.config
    if config.output == "soft_argmax":
        weights.network.config = config = replace(config, output=reading)
    engine = compile_engine(weights.network, config.input_size, len(config.keypoint_set), "auto", "cpu")
    return {
        f"{name}, {'gate' if gate else 'no gate'}": measured(set_, data, weights, engine, gate)
        for name, set_ in VALIDATIONS.items()
        for gate in (False, True)
    }


def measured(validation: Validation, data: Path, weights: Weights, engine: Engine, gate: bool) -> float:
    """Percent of one set after refinement."""
    refiner = PoseRefiner(weights, engine=engine, gate=gate)
    return percent(validation, data, refined(validation, data, refiner))


def refined(validation: Validation, data: Path, refiner: PoseRefiner) -> list[dict[str, Any]]:
    """COCO results with refined joints, scores untouched."""
    truth = json.loads((data / validation.truth).read_text())
    results: list[dict[str, Any]] = json.loads((data / validation.poses).read_text())
    images = Images(data / name for name in validation.images)
    by_image = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    for image in (image for image in truth["images"] if image["id"] in by_image):
        people = by_image[image["id"]]
        triplets = np.array([p["keypoints"] for p in people], np.float32).reshape(len(people), -1, 3)
        picture, _ = images.read(Path(image["file_name"]).name)
        triplets[..., :2] = refiner(picture, triplets).keypoints
        for person, values in zip(people, triplets, strict=True):
            person["keypoints"] = values.ravel().tolist()
    return results


def percent(validation: Validation, data: Path, results: list[dict[str, Any]]) -> float:
    """AP or PCK of COCO results."""
    truth = data / validation.truth
    return 100 * (coco_ap(truth, results).ap if validation.measure == "AP" else pck(truth, results).pck)


def unrefined(data: Path) -> dict[str, float]:
    """The estimator's own percent by validation set."""
    return {name: percent(v, data, json.loads((data / v.poses).read_text())) for name, v in VALIDATIONS.items()}


def table(before: dict[str, float], rows: dict[str, dict[str, float]]) -> str:
    """Markdown; each cell is without and with the gate."""
    lines = ["| | " + " | ".join(VALIDATIONS) + " |", "|---" * (len(VALIDATIONS) + 1) + "|"]
    lines.append("| estimator | " + " | ".join(f"{before[name]:.1f}" for name in VALIDATIONS) + " |")
    for row, values in rows.items():
        cells = [f"{values[f'{name}, no gate']:.1f}, {values[f'{name}, gate']:.1f}" for name in VALIDATIONS]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Train and score what was asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="root of the recipes' data and the validation sets")
    parser.add_argument("--imagenet", type=Path, required=True, help="ONNX file of an ImageNet MobileNetV2")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and scores")
    parser.add_argument("--samples", type=int, default=12000, help="people per run (default 12000)")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=[*RECIPES], help="recipes (default all)")
    parser.add_argument("--workers", type=int, default=1, help="loader processes of the trainer (default 1)")
    parser.add_argument(
        "--reading", choices=("soft_argmax", "similarity_argmax"), default="soft_argmax",
        help="how joints are read from softmax heatmaps (default: soft_argmax, as published)",
    )  # fmt: skip
    arguments = parser.parse_args()
    rows = {}
    for name in arguments.only:
        rows[name] = score(train(name, arguments.samples, arguments), arguments.data, arguments.reading)
        print(f"{name}: {rows[name]}", flush=True)
    print(table(unrefined(arguments.data), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

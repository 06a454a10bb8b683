"""`python -m trainer RECIPE --data ROOT --out FOLDER`: train, or go on with an interrupted run."""

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from posefix_track.errors import PosefixError
from posefix_track.network import PoseFix
from posefix_track.weights import load_weights
from trainer.import_imagenet import import_mobilenet
from trainer.recipe import Recipe, read_recipe
from trainer.train import load_samples, train


def main() -> int:
    """Parse arguments, train, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("recipe", type=Path, help="TOML file, such as trainer/recipes/lite.toml")
    parser.add_argument("--data", type=Path, required=True, help="folder that the recipe's data paths start from")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log and weights")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--imagenet", type=Path, help="ONNX file of an ImageNet MobileNetV2 to start the backbone from")
    start.add_argument("--weights", type=Path, help="weights to start from; the recipe's input size wins")
    parser.add_argument("--error-model", type=Path, help="file of python -m trainer.error_model, for input poses")
    parser.add_argument("--workers", type=int, default=1, help="loader processes (default 1)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = read_recipe(arguments.recipe)
        if arguments.error_model:
            path = os.path.relpath(arguments.error_model, arguments.data)
            synthesis = replace(recipe.synthesis, error_model=path)
            recipe = replace(recipe, synthesis=synthesis)
        network = _start(recipe, arguments)
        train(recipe, arguments.data, arguments.out, network, arguments.workers)
    except PosefixError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _start(recipe: Recipe, arguments: argparse.Namespace) -> PoseFix:
    torch.manual_seed(recipe.train.seed)
    network = PoseFix(recipe.network)
    if arguments.weights:
        network.load_state_dict(load_weights(arguments.weights).network.state_dict())
    elif arguments.imagenet:
        samples = load_samples(recipe, arguments.data)
        images = torch.cat([samples[step].images for step in range(4)])
        import_mobilenet(arguments.imagenet, network, images)
    return network


if __name__ == "__main__":
    sys.exit(main())

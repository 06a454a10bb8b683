"""`python -m trainer RECIPE --data ROOT --out FOLDER`: train, or go on with an interrupted run."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from posefix_track.downloads import with_hash
from posefix_track.network import PoseFix
from trainer.command import run
from trainer.recipe import Recipe, read_recipe
from trainer.start import start_from_imagenet, start_from_weights
from trainer.train import load_samples, train


def main() -> int:
    """Parse arguments, train, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("recipe", type=Path, help="TOML file, such as trainer/recipes/lite.toml")
    parser.add_argument("--data", type=Path, required=True, help="folder that the recipe's data paths start from")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log and weights")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--imagenet",
        type=Path,
        help="ImageNet classifier to start from: torchvision's ResNet (.pth, .safetensors) or a MobileNetV2 (.onnx)",
    )
    start.add_argument("--weights", help="weights to start from, a file or URL; the recipe's input size wins")
    parser.add_argument("--weights-sha256", metavar="HEX", help="hash of the weights, needed for a URL")
    parser.add_argument("--error-model", type=Path, help="file of python -m trainer.error_model, for input poses")
    parser.add_argument("--workers", type=int, default=1, help="loader processes of each training process (default 1)")
    parser.add_argument("--tensorboard", action="store_true", help="write for TensorBoard too")
    return run(_train, parser.parse_args())


def _train(arguments: argparse.Namespace) -> None:
    recipe = read_recipe(arguments.recipe)
    if arguments.error_model:
        path = os.path.relpath(arguments.error_model, arguments.data)
        synthesis = replace(recipe.synthesis, error_model=path)
        recipe = replace(recipe, synthesis=synthesis)
    network = _start(recipe, arguments)
    train(recipe, arguments.data, arguments.out, network, arguments.workers, arguments.tensorboard)


def _start(recipe: Recipe, arguments: argparse.Namespace) -> PoseFix:
    torch.manual_seed(recipe.train.seed)
    network = PoseFix(recipe.network)
    if arguments.weights:
        start_from_weights(with_hash(arguments.weights, arguments.weights_sha256), network)
    elif arguments.imagenet:
        samples = load_samples(recipe, arguments.data)
        images = torch.cat([samples[step].images for step in range(min(4, len(samples)))])
        start_from_imagenet(arguments.imagenet, network, images)
    return network


if __name__ == "__main__":
    sys.exit(main())

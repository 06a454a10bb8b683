"""How many samples a core makes: `python -m benchmarks.loading RECIPE --data ROOT [--batches N]`.

Counts the processor's time, so that a busy machine gives the same numbers; divide what the GPU takes by it to know how
many loader processes (``--workers``) to start.
"""

import argparse
import time
from pathlib import Path

from trainer.recipe import read_recipe
from trainer.train import load_samples


def main() -> None:
    """Parse arguments and print one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that the recipe's data paths start from")
    parser.add_argument("--batches", type=int, default=10)
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.recipe)
    samples = load_samples(recipe, arguments.data)
    samples[0]
    before = time.process_time()
    for step in range(1, arguments.batches + 1):
        samples[step]
    seconds = time.process_time() - before
    rate = arguments.batches * recipe.train.batch_size / seconds
    print(f"{rate:.0f} samples a second and core; {3000 / rate:.1f} cores for 3,000 a second")


if __name__ == "__main__":
    main()

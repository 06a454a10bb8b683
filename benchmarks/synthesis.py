"""Persons per second and core of pose synthesis, beside the plain per-joint way of the released code.

    python benchmarks/synthesis.py [--batch 1024] [--slow-people 64] [--repeats 5] [--least-ratio 50]

Both treat the same random people (COCO's joints; a third of them with one to three others near by). Processor time of
one thread is measured, the best of ``--repeats`` runs of the batch; exit code 1 when the ratio is too low.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

# NumPy's libraries read it when they are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np

from benchmarks.synthesis_reference import synthesise_slowly
from posefix_track.keypoints import COCO_17
from posefix_track.synthesis import People, SynthesisRules, synthesise

# A standing person in COCO's order, in units of its height around its middle.
_BODY = np.array(
    [
        [0, -43], [2, -45], [-2, -45], [4, -44], [-4, -44], [11, -31], [-11, -31], [16, -15], [-16, -15], [17, 0],
        [-17, 0], [7, 2], [-7, 2], [8, 25], [-8, 25], [8, 47], [-8, 47],
    ]
) / 100  # fmt: skip


def random_people(count: int, rng: np.random.Generator) -> People:
    """People of random size, pose and visibility, with up to three overlapping others."""
    height = rng.uniform(80, 300, (count, 1, 1))
    base = (_BODY + rng.normal(0, 0.04, (count, 17, 2))) * height
    shift = rng.normal(0, (0.25, 0.08), (count, 3, 1, 2))
    near = (_BODY + shift + rng.normal(0, 0.04, (count, 3, 17, 2))) * height[:, None]
    others = rng.choice(4, count, p=(0.66, 0.2, 0.09, 0.05))
    near_labelled = (np.arange(3) < others[:, None])[..., None] & (rng.random((count, 3, 17)) < 0.7)
    labelled = rng.random((count, 17)) < rng.uniform(0.3, 1, (count, 1))
    size = base.max(1) - base.min(1)
    return People(base, labelled, near, near_labelled, size.prod(1))


def persons_per_second(work: Callable[[], object], people: int, repeats: int) -> float:
    """Best of ``repeats`` runs, by processor time."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return people / min(seconds)


def main() -> int:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1024, help="people at a time (default 1024)")
    parser.add_argument("--slow-people", type=int, default=64, help="of them, for the plain way (default 64)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of the batch (default 5)")
    parser.add_argument("--least-ratio", type=float, default=50.0, help="what to fail below (default 50)")
    arguments = parser.parse_args()
    people = random_people(arguments.batch, np.random.default_rng(0))
    # The people are in no order, so the first ones are like the rest.
    few = People(*(column[: arguments.slow_people] for column in vars(people).values()))
    rng, rules = np.random.default_rng(1), SynthesisRules()
    fast = persons_per_second(lambda: synthesise(people, COCO_17, rng), arguments.batch, arguments.repeats)
    slow = persons_per_second(lambda: synthesise_slowly(few, rng, rules), arguments.slow_people, 1)
    print(f"vectorised, batch {arguments.batch}: {fast:,.0f} persons/s per core")
    print(f"one joint at a time: {slow:,.1f} persons/s per core, on {arguments.slow_people} of the same people")
    print(f"ratio: {fast / slow:,.0f} (at least {arguments.least_ratio:g} wanted)")
    return 0 if fast >= arguments.least_ratio * slow else 1


if __name__ == "__main__":
    sys.exit(main())

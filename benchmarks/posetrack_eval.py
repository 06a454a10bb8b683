"""Time and memory of the PoseTrack evaluation on a synthetic set of PoseTrack 2018 validation's size.

    python benchmarks/posetrack_eval.py [--videos 170] [--workers 2] [--check-seconds 20] [--check-mib 1024]

Writes 170 videos of 100 frames, 52 of them labelled, with 4 people into a temporary folder, evaluates them and prints
wall and processor seconds and the peak of resident memory (parent plus every worker at its own peak).
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from eval.posetrack import PosetrackResult, evaluate_posetrack
from posefix_track.keypoints import POSETRACK_18

FRAMES, LABELLED, PEOPLE = 100, 52, 4
# A standing person, pixels around the pelvis, in the order of POSETRACK_18.
_BODY = np.array(
    [
        [0, -80], [0, -60], [0, -100], [5, -85], [-5, -85], [20, -50], [-20, -50], [35, -20], [-35, -20],
        [40, 10], [-40, 10], [15, 10], [-15, 10], [17, 55], [-17, 55], [18, 100], [-18, 100],
    ],
    dtype=np.float64,
)  # fmt: skip
_CATEGORIES = [{"id": 1, "name": "person", "keypoints": list(POSETRACK_18.joints)}]


def write_set(folder: Path, videos: int, rng: np.random.Generator) -> int:
    """Writes ``videos`` sequences under ``folder``/gt and ``folder``/pred; returns their bytes."""
    for side in ("gt", "pred"):
        (folder / side).mkdir()
    for video in range(videos):
        images, truth, prediction = _video(video, rng)
        for side, annotations in (("gt", truth), ("pred", prediction)):
            document = {"images": images, "annotations": annotations, "categories": _CATEGORIES}
            (folder / side / f"{video:06d}_mpii_test.json").write_bytes(orjson.dumps(document))
    return sum(path.stat().st_size for path in folder.rglob("*.json"))


def _video(video: int, rng: np.random.Generator) -> tuple[list[Any], list[Any], list[Any]]:
    first = (FRAMES - LABELLED) // 2
    place, speed = rng.uniform([200, 250], [1700, 850], (PEOPLE, 2)), rng.normal(0, 2, (PEOPLE, 2))
    size, ids = rng.uniform(0.6, 2.0, PEOPLE), rng.permutation(PEOPLE)
    images, truth, prediction = [], [], []
    for frame in range(FRAMES):
        image_id = 10**10 + video * 10**4 + frame
        labelled = first <= frame < first + LABELLED
        name = f"images/val/{video:06d}_mpii_test/{frame:06d}.jpg"
        images.append({"id": image_id, "file_name": name, "is_labeled": labelled})
        if rng.random() < 0.02:
            ids = rng.permutation(PEOPLE)
        for person in range(PEOPLE):
            body = _BODY * size[person] + place[person] + speed[person] * frame
            if labelled:
                truth.append(_annotated(body, size[person], image_id, person, rng))
            if rng.random() > 0.05:
                prediction.append(_predicted(body, size[person], image_id, int(ids[person]), rng))
    return images, truth, prediction


def _keypoints(body: Any, absent: Any) -> list[float]:
    triplets = np.c_[body, np.ones(len(body))]
    triplets[absent] = 0
    triplets[[POSETRACK_18.index[joint] for joint in POSETRACK_18.dead]] = 0
    return [float(value) for value in triplets.ravel().round(2)]


def _annotated(body: Any, size: float, image_id: int, track_id: int, rng: np.random.Generator) -> dict[str, Any]:
    head = [float(v) for v in (body[0, 0] - 15 * size, body[2, 1], 30 * size, 40 * size)]
    keypoints = _keypoints(body, rng.random(len(body)) < 0.1)
    return {"image_id": image_id, "track_id": track_id, "keypoints": keypoints, "bbox_head": head}


def _predicted(body: Any, size: float, image_id: int, track_id: int, rng: np.random.Generator) -> dict[str, Any]:
    keypoints = _keypoints(body + rng.normal(0, 8 * size, body.shape), rng.random(len(body)) < 0.03)
    scores = [float(score) for score in rng.random(len(body)).round(6)]
    return {"image_id": image_id, "track_id": track_id, "keypoints": keypoints, "scores": scores}


def _measured(folder: Path, workers: int) -> tuple[PosetrackResult, float, float, float]:
    """Result, wall seconds, processor seconds and MiB of resident memory."""
    start, processor = time.perf_counter(), _processor_seconds()
    result = evaluate_posetrack(folder / "gt", folder / "pred", workers=workers, per_sequence=True)
    wall, processor = time.perf_counter() - start, _processor_seconds() - processor
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return result, wall, processor, (own + workers * child) / 1024


def _processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> int:
    """Returns 1 where a limit that was asked for is broken."""
    parser = argparse.ArgumentParser(description="Time and memory of the PoseTrack evaluation.")
    parser.add_argument("--videos", type=int, default=170)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2018)
    parser.add_argument("--check-seconds", type=float, default=float("inf"), help="fail above this wall time")
    parser.add_argument("--check-mib", type=float, default=float("inf"), help="fail above this memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        size = write_set(Path(name), arguments.videos, np.random.default_rng(arguments.seed))
        result, wall, processor, memory = _measured(Path(name), arguments.workers)
    print(f"{result.sequences} sequences, {result.frames} annotated frames, {size / 2**20:.0f} MiB of JSON")
    print("  ".join(f"{name} {result.metrics[name][-1]:.4f}" for name in ("ap", "mota", "motp", "hota")))
    print(f"{wall:.1f} s wall, {processor:.1f} s processor, {memory:.0f} MiB, {arguments.workers} workers")
    return int(wall > arguments.check_seconds or memory > arguments.check_mib)


if __name__ == "__main__":
    sys.exit(main())

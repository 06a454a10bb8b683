"""The baseline of benchmarks/end_to_end.py computes what the tool computes, and the benchmark counts what it says."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.end_to_end import Way, measure, table
from benchmarks.original_way import refine_the_original_way
from posefix_track.figures import render_clip
from posefix_track.figures.tracker import tracked
from posefix_track.network import PoseFix, original_config
from posefix_track.poses import PoseSequence
from posefix_track.refiner import PoseRefiner
from posefix_track.video import VideoWriter, open_source
from posefix_track.weights import Weights
from tests.decided_network import decided_network

FRAMES, PEOPLE, SIZE = 4, 3, (96, 128)


@pytest.fixture(scope="module")
def network() -> PoseFix:
    return decided_network(replace(original_config("resnet18", (64, 64)), head_channels=(32, 32, 32)))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PoseSequence]:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = list(render_clip(FRAMES, PEOPLE, SIZE, 0))
    with VideoWriter(path, SIZE[1], SIZE[0], Fraction(30)) as writer:
        for frame in frames:
            writer.write(frame.image)
    return path, tracked(frames, 0)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("by_person", [True, False])
def test_the_original_way_gives_the_tools_coordinates(
    network: PoseFix, clip: tuple[Path, PoseSequence], tmp_path: Path, flip: bool, by_person: bool
) -> None:
    video, poses = clip
    count = refine_the_original_way(video, poses, network, tmp_path / "o.json", flip, by_person)
    results = json.loads((tmp_path / "o.json").read_text())
    found = np.array([result["keypoints"] for result in results]).reshape(-1, 17, 3)[..., :2]
    refiner = PoseRefiner(Weights(network, {}, ""), engine="torch", device="cpu", flip=flip, gate=False)
    with open_source(video) as source:
        pairs = list(zip(source, poses.frames, strict=True))
    expected = np.concatenate([refiner(frame.image, p.keypoints).keypoints for frame, p in pairs])
    assert count == len(results) == FRAMES * PEOPLE
    # Results have three decimals, and FP32 sums in another order.
    assert np.abs(found - expected).max() < 0.02


def test_the_table_gives_medians_and_shares_of_the_same_round() -> None:
    times = iter([4.0, 1.0, 8.0, 2.0, 4.0, 1.0])
    ways = [
        Way("slow", lambda: (next(times), 0.0), crops=8),
        Way("fast", lambda: (next(times), 0.5), crops=8, engine=lambda: 0.9),
    ]
    measure(ways, rounds=3)
    rows = table(ways, frames=4).splitlines()[2:]
    assert rows == ["| slow | 1.0 | 2.0 |  | 1.00 | 0.0 |", "| fast | 4.0 | 8.0 | 90% | 4.00 | 0.5 |"]

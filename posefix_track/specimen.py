"""What engines are measured with: a network and drawn people as it would see them, without any download."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from posefix_track.figures import render_clip
from posefix_track.figures.tracker import tracked
from posefix_track.network import PoseFix
from posefix_track.refiner import PoseRefiner
from posefix_track.weights import find_quantised, load_weights

_SIZE, _PEOPLE, _SEED = (720, 1280), 8, 3


@dataclass(frozen=True)
class Specimen:
    """See ``engines.benchmark.Subject``; the inputs are images, keypoints and presence of ``rows`` people."""

    network: PoseFix
    input_size: tuple[int, int]
    joints: int
    quantised: Path | None
    inputs: tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def specimen(weights: str = "lite", rows: int = 64) -> Specimen:
    """The network of ``weights`` with as many typical inputs."""
    loaded = load_weights(weights)
    refiner = PoseRefiner(loaded, engine="torch", device="cpu")
    frames = list(render_clip(-(-rows // _PEOPLE), _PEOPLE, _SIZE, _SEED))
    poses = tracked(frames, _SEED).frames
    prepared = [refiner.prepare(f.image, p.keypoints, p.scores) for f, p in zip(frames, poses, strict=True)]
    images, keypoints, present = (
        # Whoever has walked out of the picture is made up for by repeating the others.
        np.resize(column, (rows, *column.shape[1:]))
        for column in (np.concatenate([getattr(p, name) for p in prepared]) for name in ("crops", "poses", "present"))
    )
    config = loaded.network.config
    inputs = images, keypoints, present
    return Specimen(loaded.network, config.input_size, len(config.keypoint_set), find_quantised(loaded), inputs)

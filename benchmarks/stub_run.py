"""A long clip, poses for it, and an engine that only pretends: what other benchmarks and tests run on."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from posefix_track.formats import write_native
from posefix_track.keypoints import COCO_17
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.video import VideoWriter
from posefix_track.weights import Weights

Float = npt.NDArray[np.float32]


class StubEngine:
    """Moves joints by an amount that depends on the crop and on who shares the batch, as real engines' last bits do."""

    name, max_batch = "stub", 8

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        """Refined keypoints [B, K, 2] and expected similarities [B, K, 2]."""
        shift = images[:, ::16, ::16, 1].mean((1, 2)) / 64 + len(images) / 100 + keypoints.mean() / 1000
        expected = np.broadcast_to(np.float32([0.9, 0.5]), (*present.shape, 2))
        return (keypoints + shift[:, None, None]).astype(np.float32), expected


def stub_weights() -> Weights:
    """An untrained network of small crops, whose engine is to be a StubEngine."""
    return Weights(PoseFix(NetworkConfig(input_size=(64, 64))), {}, "0" * 64)


def write_clip(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A video of ``frames`` pictures of (height, width) that all differ."""
    height, width = size
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] + np.array([0, 40, 80])
    with VideoWriter(path, width, height, Fraction(30), quality=40) as writer:
        for frame in range(frames):
            writer.write((ramp + 3 * frame).astype(np.uint8))


def write_poses(path: Path, frames: int, people: int, size: tuple[int, int]) -> None:
    """Poses of ``people`` who walk about in all ``frames``, as our own JSON lines."""
    write_native(path, PoseSequence(COCO_17, tuple(_poses(frames, people, size))), {"path": "clip.mp4"})


def repeat_clip(path: Path, clip: Path, times: int) -> None:
    """``clip`` so many times over; its packets are copied, which takes seconds where encoding an hour takes minutes."""
    with av.open(str(path), "w", format="mp4") as container, av.open(str(clip)) as first:
        stream = container.add_stream_from_template(first.streams.video[0])
        for turn in range(times):
            with av.open(str(clip)) as source:
                length = source.streams.video[0].duration or 0
                for packet in source.demux(video=0):
                    if packet.dts is not None and packet.pts is not None:
                        packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                        packet.stream = stream
                        container.mux(packet)


def repeat_poses(path: Path, poses: Path, times: int) -> None:
    """The frames of our own JSON lines so many times over, numbered on."""
    header, *lines = poses.read_bytes().splitlines(keepends=True)
    bodies = [line.partition(b",")[2] for line in lines]
    with path.open("wb") as file:
        file.write(header)
        for number in range(times * len(bodies)):
            file.write(b'{"frame":%d,' % number + bodies[number % len(bodies)])


def _poses(frames: int, people: int, size: tuple[int, int]) -> Iterator[FramePoses]:
    rng = np.random.default_rng(0)
    extent = np.array(size[::-1])
    body = rng.uniform(-0.2, 0.2, (people, 17, 2)) * extent
    for frame in range(frames):
        middle = (0.5 + 0.3 * np.sin(frame / 50 + np.arange(people)[:, None] + [0, 1])) * extent
        keypoints = (middle[:, None] + body + rng.normal(0, 1, body.shape)).astype(np.float32)
        scores = rng.uniform(0.1, 1, (people, 17)).astype(np.float32)
        yield FramePoses(np.maximum(keypoints, 1), frame, scores=scores, track_ids=tuple(range(people)))

"""The INT8 form of a weights file: made with people that a tracker has found, checked against FP32."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.engine import EngineError
from engines.openvino_engine import OpenVinoEngine
from engines.quantise import Inputs, quantise, serialised
from engines.quantised import write_quantised
from posefix_track.crops import keypoint_boxes
from posefix_track.errors import InputError, ResourceError
from posefix_track.formats import PoseFile
from posefix_track.frames import FrameSource
from posefix_track.network import NetworkConfig
from posefix_track.oks import AREA_OF_BOX, keypoint_similarity
from posefix_track.pairing import Pairing
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refiner import PoseRefiner, Prepared
from posefix_track.weights import Weights

Float = npt.NDArray[np.float32]

_BATCH = 8
# Mean keypoint similarity of INT8 to FP32 below which the INT8 form is thrown away; see docs/performance.md.
LEAST_SIMILARITY = 0.98


@dataclass(frozen=True)
class Agreement:
    """How INT8 compares with FP32 on people that it was not calibrated with.

    Attributes:
        people: how many.
        median_px, p99_px: distance of the joints, crop pixels.
        similarity: mean keypoint similarity of the joints, in [0, 1].
    """

    people: int
    median_px: float
    p99_px: float
    similarity: float

    def __str__(self) -> str:
        return (
            f"keypoint similarity to FP32 {self.similarity:.4f}, median distance {self.median_px:.2f} px,"
            f" 99th percentile {self.p99_px:.2f} px of the crop, on {self.people} people"
        )


def quantise_weights(weights: Weights, source: FrameSource, poses: PoseFile, output: Path, people: int) -> Agreement:
    """Make the INT8 form of ``weights`` and write it to ``output``.

    Args:
        weights: of any network.
        source, poses: pictures and what a tracker found on them; people from all over them are taken.
        output: .safetensors.
        people: to calibrate with; as many more are used to check the result.

    Raises:
        InputError: fewer than 16 people can be seen.
        ResourceError: NNCF is missing, or INT8 differs too much from FP32; nothing is written then.
    """
    config = weights.network.config
    inputs = _inputs(weights, source, poses, 2 * people)
    calibration, check = inputs[: len(inputs) // 2], inputs[len(inputs) // 2 :]
    size, joints = config.input_size, len(config.keypoint_set)
    unchecked = output.with_name(output.name + ".unchecked")
    try:
        model = quantise(weights.network, size, joints, calibration)
        write_quantised(unchecked, *serialised(model), {"weights_sha256": weights.sha256})
        engines = [OpenVinoEngine(weights.network, size, joints, p, unchecked) for p in ("int8", "fp32")]
    except EngineError as error:
        raise ResourceError(str(error)) from error
    found = agreement(config, check, *([engine(*batch)[0] for batch in check] for engine in engines))
    if found.similarity < LEAST_SIMILARITY:
        unchecked.unlink()
        raise ResourceError(f"INT8 is too far from FP32 for use: {found}; expected at least {LEAST_SIMILARITY}")
    unchecked.replace(output)
    return found


def agreement(config: NetworkConfig, batches: list[Inputs], int8: list[Float], fp32: list[Float]) -> Agreement:
    """Compare the keypoints [B, K, 2] that two engines gave for the same batches, on the joints of the input.

    Keypoint similarity is COCO's, on the area of the input pose.
    """
    poses, present = (np.concatenate([batch[i] for batch in batches]) for i in (1, 2))
    boxes = keypoint_boxes(poses, present)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1) * AREA_OF_BOX
    found, wanted = np.concatenate(int8), np.concatenate(fp32)
    similarity = keypoint_similarity(found, wanted, area, np.asarray(config.keypoint_set.sigmas))
    asked = np.linalg.norm(found - wanted, axis=-1)[present]
    return Agreement(
        len(poses), float(np.median(asked)), float(np.percentile(asked, 99)), float(similarity[present].mean())
    )


def _inputs(weights: Weights, source: FrameSource, poses: PoseFile, people: int) -> list[Inputs]:
    """Batches of people from all over the sequences, in an order that mixes them."""
    total = sum(len(frame) for sequence in poses.sequences for frame in sequence.frames)
    _check_enough(total, source)
    thinned = [_thinned(sequence, people / total) for sequence in poses.sequences]
    prepared = [frame for frame in _prepared(weights, source, thinned) if len(frame.rows)]
    found = sum(len(frame.rows) for frame in prepared)
    _check_enough(found, source)
    images = np.concatenate([frame.crops for frame in prepared])
    keypoints = np.concatenate([frame.poses for frame in prepared])
    present = np.concatenate([frame.present for frame in prepared])
    order = np.random.default_rng(0).permutation(found)[:people]
    return [(images[rows], keypoints[rows], present[rows]) for rows in np.array_split(order, len(order) // _BATCH)]


def _check_enough(people: int, source: FrameSource) -> None:
    if people < 2 * _BATCH:
        raise InputError(f"{source.path}: {people} people to calibrate with, expected {2 * _BATCH} or more")


def _thinned(sequence: PoseSequence, share: float) -> PoseSequence:
    """The sequence with people in an evenly spread ``share`` of its frames."""
    ends = np.floor(np.arange(1, len(sequence.frames) + 1) * min(share, 1) + 1e-9)
    wanted = np.diff(ends, prepend=0) > 0
    frames = zip(sequence.frames, wanted, strict=True)
    return replace(sequence, frames=tuple(frame if want else _nobody(frame) for frame, want in frames))


def _nobody(frame: FramePoses) -> FramePoses:
    return FramePoses(frame.keypoints[:0], frame.frame_index, frame.image_name)


def _prepared(weights: Weights, source: FrameSource, sequences: list[PoseSequence]) -> Iterator[Prepared]:
    # Only its crops are wanted; this engine takes no time to make.
    refiner = PoseRefiner(weights, keypoints=sequences[0].keypoint_set, device="cpu", engine="torch", precision="fp32")
    for sequence in sequences:
        for pair in Pairing(source, sequence):
            for frame in (sequence.frames[position] for position in pair.positions):
                yield refiner.prepare(pair.frame.image, frame.keypoints, frame.scores)

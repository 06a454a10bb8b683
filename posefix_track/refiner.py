"""PoseRefiner: frames and poses in, refined poses out; people of several frames share a batch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines import Engine, compile_engine
from engines.engine import EngineError
from posefix_track.batching import in_batches
from posefix_track.crops import CropTransform, crop_transform, keypoint_boxes
from posefix_track.errors import InputError, ResourceError
from posefix_track.gate import Gate
from posefix_track.keypoints import KeypointSet, keypoint_set
from posefix_track.network import STRIDE, NetworkConfig, similarity_spread
from posefix_track.poses import present_joints
from posefix_track.weights import Weights, find_quantised, load_weights

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]
Int = npt.NDArray[np.int64]
FrameAndPoses = tuple[Image, npt.NDArray[np.floating]] | tuple[Image, npt.NDArray[np.floating], Float | None]

# Crop pixels; a joint that moves by less stays, bit for bit: float32 arithmetic there and back moves it by 1e-4.
_NOISE = 1e-3
# Two positions with a keypoint similarity below exp(-1.55^2 / 2) = 0.3 are not the same joint.
_APART = 1.55
# OpenPose's neck and mid-hip are means of two joints; within this many pixels they count as such and move along.
_DERIVED_PX = 2.0
_DERIVED = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}


@dataclass(frozen=True)
class RefinedPoses:
    """The caller's people, row by row.

    Attributes:
        keypoints: float32 [N, K, 2], image pixels; joints that were not refined are the caller's, bit for bit.
        expected_ks: float32 [N, K], keypoint similarity to the truth expected of ``keypoints``, in [0, 1]; NaN where
            the network does not know the joint or was not asked.
        refined: bool [N, K], joints that the network has moved.
        shift: float32 [N, K], pixels between input and output; 0 where not refined.
        considered: bool [N], people that the network has looked at.
    """

    keypoints: Float
    expected_ks: Float
    refined: Bool
    shift: Float
    considered: Bool

    def __len__(self) -> int:
        return len(self.keypoints)

    def __repr__(self) -> str:
        return f"RefinedPoses(people={len(self)}, joints={self.keypoints.shape[1]}, moved={int(self.refined.sum())})"


@dataclass(frozen=True)
class Answers:
    """What the network says of the caller's N people before the gate decides; NaN where it was not asked.

    Attributes:
        keypoints: float32 [N, K, 2], refined positions in image pixels.
        expected_ks: float32 [N, K, 2], similarity to the truth expected of the refined and of the caller's joint.
    """

    keypoints: Float
    expected_ks: Float


@dataclass(frozen=True)
class Prepared:
    """One frame on its way to the engine.

    Attributes:
        keypoints: the caller's, float32 [N, K, 2].
        rows: int64 [P], the people to look at.
        crops: uint8 [P, H, W, 3]; poses float32 [P, J, 2] and present bool [P, J]: network input, crop pixels.
        transform: of the P crops.
    """

    keypoints: Float
    rows: Int
    crops: Image
    poses: Float
    present: Bool
    transform: CropTransform


@dataclass(frozen=True)
class Outputs:
    """Network outputs of P people in crop pixels: keypoints [P, K, 2], expected similarity [P, K, 2]."""

    keypoints: Float
    expected_ks: Float


@dataclass
class PoseRefiner:
    """Refines poses frame by frame. Stateless between calls; not to be shared between threads.

        refiner = PoseRefiner(keypoints="coco17")
        for frame_bgr, keypoints in tracker:              # uint8 [H, W, 3], float [N, 17, 2]
            better = refiner(frame_bgr, keypoints).keypoints

    Args:
        weights: a shipped name such as "lite", a .safetensors path, or loaded Weights.
        device: "auto", "cpu", "cuda" or "cuda:N".
        keypoints: the caller's keypoint set, by name or as a KeypointSet.
        engine: "auto", an engine's name, or a ready Engine.
        precision: "auto" for the fastest that the engine was found accurate with, or "fp32", "fp16", "bf16", "int8".
        flip: also look at the mirrored crop and average; twice the work, more accurate.
        gate: keep an input joint wherever the network expects it to be nearer to the truth than its own.
        gate_margin, gate_width: see ``posefix_track.gate.Gate``.
        fill_missing: also give joints that the input lacks.
        batch_size: people per engine call; None for the engine's choice.

    Raises:
        InputError: unusable weights or an unknown keypoint set.
        ResourceError: an engine or device that cannot run here.
    """

    weights: str | Weights = "lite"
    device: str = "auto"
    keypoints: str | KeypointSet = "coco17"
    engine: str | Engine = "auto"
    precision: str = "auto"
    flip: bool = True
    gate: bool = True
    gate_margin: float = 0.0
    gate_width: float = 0.05
    fill_missing: bool = False
    batch_size: int | None = None
    config: NetworkConfig = field(init=False)

    def __post_init__(self) -> None:
        loaded = self.weights if isinstance(self.weights, Weights) else load_weights(self.weights)
        self.loaded, self.config = loaded, loaded.network.config
        self.keypoint_set = keypoint_set(self.keypoints) if isinstance(self.keypoints, str) else self.keypoints
        known = self.config.keypoint_set
        # Where each of the network's joints stands in the caller's set (-1: it lacks it).
        self._from_caller = known.map_from(self.keypoint_set)
        if (self._from_caller >= 0).sum() < 6:
            raise InputError(f"the keypoint set {self.keypoint_set.name} has fewer than 6 human joints to refine")
        self._engine = self._compiled(loaded) if isinstance(self.engine, str) else self.engine
        self._gate = self.gate and self.config.confidence
        self.people_per_call = self.batch_size or self._engine.max_batch

    def _compiled(self, loaded: Weights) -> Engine:
        size, joints = self.config.input_size, len(self.config.keypoint_set)
        try:
            quantised = find_quantised(loaded)
            return compile_engine(
                loaded.network, size, joints, str(self.engine), self.device, self.precision, quantised
            )
        except EngineError as error:
            raise ResourceError(str(error)) from error

    @property
    def engine_name(self) -> str:
        """What really runs."""
        return self._engine.name

    def __call__(
        self, frame_bgr: Image, keypoints: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None = None
    ) -> RefinedPoses:
        """Refine all people of one frame; row i of the result is row i of the input.

        Args:
            frame_bgr: uint8 [H, W, 3].
            keypoints: [N, K, 2] or [N, K, 3] (x, y, score) in image pixels; NaN or (0, 0) is a missing joint; N
                may be 0.
            scores: [N, K], where a score <= 0 is a missing joint too.
        """
        return next(self.stream([(frame_bgr, keypoints, scores)]))

    def answers(
        self, frame_bgr: Image, keypoints: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None = None
    ) -> Answers:
        """The network's own opinion, for judging it; arguments as of ``__call__``."""
        frame = self.prepare(frame_bgr, keypoints, scores)
        outputs = self._infer(frame.crops, frame.poses, frame.present)
        ours = np.flatnonzero(self._from_caller >= 0)
        cells = frame.rows[:, None], self._from_caller[ours]
        shape = frame.keypoints.shape
        answers = Answers(np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32))
        answers.keypoints[cells] = frame.transform.to_image(outputs.keypoints)[:, ours]
        answers.expected_ks[cells] = outputs.expected_ks[:, ours]
        return answers

    def stream(self, frames_and_poses: Iterable[FrameAndPoses], max_latency: int = 8) -> Iterator[RefinedPoses]:
        """Refine a stream of (frame_bgr, keypoints[, scores]); one result a frame, in order.

        People of up to ``max_latency`` frames wait for each other so that the engine gets full batches.
        """
        prepared = (self.prepare(*frame_and_poses) for frame_and_poses in frames_and_poses)
        for group in in_batches(prepared, lambda frame: len(frame.rows), self.people_per_call, max_latency):
            yield from self.run(group)

    def prepare(
        self, frame_bgr: Image, keypoints: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None = None
    ) -> Prepared:
        """Crops and crop poses of one frame's people; may run in another thread than ``run``."""
        keypoints, scores = _checked(keypoints, scores, len(self.keypoint_set))
        found = present_joints(keypoints, scores)
        known = self._from_caller >= 0
        poses = np.where(known[:, None], keypoints[:, self._from_caller], 0)
        present = found[:, self._from_caller] & known
        boxes = keypoint_boxes(poses, present)
        rows = np.flatnonzero(_touches(boxes, frame_bgr.shape))
        transform = crop_transform(boxes[rows], self.config.input_size, self.config.padding)
        crops = transform.crop(frame_bgr, self.config.antialias)
        inputs = transform.to_crop(np.where(present[rows, :, None], poses[rows], 0))
        return Prepared(keypoints, rows, crops, inputs, present[rows], transform)

    def run(self, frames: list[Prepared]) -> Iterator[RefinedPoses]:
        """Run the people of several prepared frames through the engine together; one result a frame."""
        if not frames:
            return
        outputs = self._infer(
            np.concatenate([f.crops for f in frames]),
            np.concatenate([f.poses for f in frames]),
            np.concatenate([f.present for f in frames]),
        )
        first = 0
        for frame in frames:
            last = first + len(frame.rows)
            yield self._finished(frame, Outputs(outputs.keypoints[first:last], outputs.expected_ks[first:last]))
            first = last

    def _infer(self, crops: Image, poses: Float, present: Bool) -> Outputs:
        chunks = [slice(i, i + self.people_per_call) for i in range(0, len(crops), self.people_per_call)]
        if not chunks:
            return Outputs(poses, poses)
        done = [self._infer_chunk(crops[c], poses[c], present[c]) for c in chunks]
        return Outputs(np.concatenate([d.keypoints for d in done]), np.concatenate([d.expected_ks for d in done]))

    def _infer_chunk(self, crops: Image, poses: Float, present: Bool) -> Outputs:
        plain = Outputs(*self._engine(crops, poses, present))
        if not self.flip:
            return plain
        order, width = self.config.keypoint_set.flip_index, self.config.input_size[1]
        mirrored = Outputs(*self._engine(crops[:, :, ::-1], _mirror(poses, width)[:, order], present[:, order]))
        back = Outputs(_mirror(mirrored.keypoints, width)[:, order], mirrored.expected_ks[:, order])
        return _merged(plain, back, similarity_spread(self.config).numpy() * STRIDE)

    def _finished(self, frame: Prepared, outputs: Outputs) -> RefinedPoses:
        """Back to the caller's image, people and joints."""
        positions = frame.transform.to_image(outputs.keypoints)
        share = self._share(frame.present, outputs.expected_ks)
        moved = (share > 0) & ~(np.linalg.norm(outputs.keypoints - frame.poses, axis=-1) < _NOISE * frame.present)
        similarity = np.where(moved, outputs.expected_ks[..., 0], outputs.expected_ks[..., 1])
        ours = np.flatnonzero(self._from_caller >= 0)
        theirs = self._from_caller[ours]
        keypoints = frame.keypoints.copy()
        refined = np.zeros(keypoints.shape[:2], bool)
        expected = np.full(keypoints.shape[:2], np.nan, np.float32)
        rows = frame.rows[:, None]
        refined[rows, theirs] = moved[:, ours]
        expected[rows, theirs] = similarity[:, ours]
        # An absent joint may be NaN, and its share is 0 or 1: np.where, not a weighted sum, decides about those.
        before, whole = keypoints[rows, theirs], (share >= 1)[:, ours, None]
        after = np.where(whole, positions[:, ours], before + share[:, ours, None] * (positions[:, ours] - before))
        keypoints[rows, theirs] = np.where(moved[:, ours, None], after, before)
        self._move_derived(frame.keypoints, keypoints, refined)
        considered = np.zeros(len(keypoints), bool)
        considered[frame.rows] = True
        shift = np.where(refined, np.linalg.norm(keypoints - frame.keypoints, axis=-1), 0).astype(np.float32)
        return RefinedPoses(keypoints, expected, refined, shift, considered)

    def _share(self, present: Bool, expected_ks: Float) -> Float:
        """float32 [P, K] in [0, 1]: how much of the way to the refined position each joint goes."""
        if not self._gate:
            return np.where(present, 1, self.fill_missing).astype(np.float32)
        share = Gate(self.gate_margin, self.gate_width).share(expected_ks)
        return np.where(present, share, self.fill_missing).astype(np.float32)

    def _move_derived(self, before: Float, after: Float, refined: Bool) -> None:
        """Recompute joints that the tracker made as the mean of two others, in place."""
        index = self.keypoint_set.index
        for joint, pair in _DERIVED.items():
            if joint not in index or joint in self.config.keypoint_set.index or not set(pair) <= set(index):
                continue
            j, (a, b) = index[joint], (index[name] for name in pair)
            was_mean = np.linalg.norm(before[:, j] - (before[:, a] + before[:, b]) / 2, axis=-1) <= _DERIVED_PX
            moves = was_mean & (before[:, j] != 0).any(-1) & (refined[:, a] | refined[:, b])
            after[moves, j] = ((after[:, a] + after[:, b]) / 2)[moves]
            refined[moves, j] = True


def _checked(
    keypoints: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None, joints: int
) -> tuple[Float, Float | None]:
    keypoints = np.asarray(keypoints)
    if keypoints.ndim != 3 or keypoints.shape[1] != joints or keypoints.shape[2] not in (2, 3):
        raise InputError(f"keypoints must have shape [N, {joints}, 2 or 3], got {list(keypoints.shape)}")
    if keypoints.shape[2] == 3 and scores is None:
        scores = keypoints[..., 2]
    if scores is not None and np.shape(scores) != keypoints.shape[:2]:
        raise InputError(f"scores must have shape {list(keypoints.shape[:2])}, got {list(np.shape(scores))}")
    points = np.ascontiguousarray(keypoints[..., :2], np.float32)
    return points, None if scores is None else np.asarray(scores, np.float32)


def _touches(boxes_xyxy: npt.NDArray[np.floating], image_shape: tuple[int, ...]) -> Bool:
    """bool [N]: boxes of at least one joint that overlap the image and are not absurdly large."""
    height, width = image_shape[:2]
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    with np.errstate(invalid="ignore"):
        inside = (high > 0).all(1) & (low[:, 0] < width) & (low[:, 1] < height)
        # Coordinates of 1e9 come from broken files; such a crop would show nothing of the image.
        return np.asarray(inside & (high - low < 20 * max(height, width)).all(1))


def _merged(plain: Outputs, mirrored: Outputs, spread: Float) -> Outputs:
    """The mean of two answers, or the one expected to be better where they mean different places: between is no joint.

    Args:
        plain, mirrored: of the same joints, in the same crop.
        spread: float32 [K], standard deviation of keypoint similarity in crop pixels.
    """
    apart = np.linalg.norm(plain.keypoints - mirrored.keypoints, axis=-1) > _APART * spread
    better = plain.expected_ks[..., 0] >= mirrored.expected_ks[..., 0]
    either = np.where(better[..., None], plain.keypoints, mirrored.keypoints)
    # Without a confidence head there is nothing to choose by.
    choose = apart & ~np.isnan(plain.expected_ks[..., 0])
    keypoints = np.where(choose[..., None], either, _mean(plain.keypoints, mirrored.keypoints))
    return Outputs(keypoints, _mean(plain.expected_ks, mirrored.expected_ks))


def _mean(a: Float, b: Float) -> Float:
    return np.asarray((a + b) / 2, np.float32)


def _mirror(keypoints: Float, width: int) -> Float:
    """x -> width - 1 - x."""
    return np.stack([width - 1 - keypoints[..., 0], keypoints[..., 1]], -1)

"""PoseRefiner: frames and poses in, refined poses out; people of several frames share a batch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from engines import Engine, compile_engine
from engines.engine import EngineError
from posefix_track.batching import in_batches
from posefix_track.crops import crop_transform, keypoint_boxes
from posefix_track.errors import InputError, ResourceError
from posefix_track.gate import Gate
from posefix_track.inference import Inference, Outputs, Pending
from posefix_track.keypoints import KeypointSet, keypoint_set
from posefix_track.network import NetworkConfig
from posefix_track.people import Answers, Prepared, RefinedPoses, checked_input, shift_of, together
from posefix_track.poses import present_joints
from posefix_track.weights import Weights, find_quantised, load_weights

__all__ = ["Answers", "PoseRefiner", "Prepared", "RefinedPoses"]

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]
Int = npt.NDArray[np.int64]
Group = TypeVar("Group")
Results = Callable[[], list[RefinedPoses]]
FrameAndPoses = tuple[Image, npt.NDArray[np.floating]] | tuple[Image, npt.NDArray[np.floating], Float | None]

# Crop pixels; a joint that moves by less stays, bit for bit: float32 arithmetic there and back moves it by 1e-4.
_NOISE = 1e-3
# OpenPose's neck and mid-hip are means of two joints; within this many pixels they count as such and move along.
_DERIVED_PX = 2.0
_DERIVED = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}


@dataclass
class PoseRefiner:
    """Refines poses frame by frame. Stateless between calls. Calls from several threads wait for each other; ``stream``
    is for one thread at a time.

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
        gate_rule: by how much nearer, see ``posefix_track.gate.Gate``.
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
    gate_rule: Gate = field(default_factory=Gate)
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
        self._inference = Inference(self._engine, self.config, self.flip, self.batch_size)
        self._lock = Lock()

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

    @property
    def people_per_call(self) -> int:
        """People that fill an engine call; fewer once the GPU's memory did not take as many."""
        return self._inference.people_per_call

    def __call__(
        self, frame_bgr: Image, keypoints: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None = None
    ) -> RefinedPoses:
        """Refine all people of one frame; row i of the result is row i of the input.

        Args:
            frame_bgr: uint8 [H, W, 3].
            keypoints: [N, K, 2] or [N, K, 3] (x, y, score) in image pixels; NaN or (0, 0) is a missing joint; N
                may be 0, also as an empty list.
            scores: [N, K], where a score <= 0 is a missing joint too.

        Raises:
            InputError: another kind of image or poses.
        """
        with self._lock:
            return next(self.stream([(frame_bgr, keypoints, scores)]))

    def answers(
        self, frame_bgr: Image, keypoints: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None = None
    ) -> Answers:
        """The network's own opinion, for judging it; arguments as of ``__call__``."""
        frame = self.prepare(frame_bgr, keypoints, scores)
        outputs = self._outputs([frame], frame)()
        ours, cells = self._cells(frame)
        shape = frame.keypoints.shape
        answers = Answers(*(np.full(size, np.nan, np.float32) for size in (shape, shape, shape[:2])))
        answers.keypoints[cells] = frame.transform.to_image(outputs.keypoints)[:, ours]
        answers.expected_ks[cells] = outputs.expected_ks[:, ours]
        answers.distance[cells] = self._distance(frame, outputs)[1][:, ours]
        return answers

    def stream(self, frames_and_poses: Iterable[FrameAndPoses], max_latency: int = 8) -> Iterator[RefinedPoses]:
        """Refine a stream of (frame_bgr, keypoints[, scores]); one result a frame, in order.

        People of up to ``max_latency`` frames wait for each other so that the engine gets full batches.
        """
        prepared = (self.prepare(*frame_and_poses) for frame_and_poses in frames_and_poses)
        # A group in flight waits too.
        latency = max(max_latency // 2, 1) if self._inference.asynchronous else max_latency
        groups = in_batches(prepared, lambda frame: len(frame.rows), self.people_per_call, latency)
        for _, results in self.in_flight(groups, lambda group: group, ahead=int(max_latency > 1)):
            yield from results

    def in_flight(
        self,
        groups: Iterable[Group],
        prepared: Callable[[Group], list[Prepared]],
        ahead: int = 1,
        clock: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Iterator[tuple[Group, list[RefinedPoses]]]:
        """Run groups of frames one after the other, so that an engine has the next one when it is done with one.

        Args:
            groups: anything that stands for frames whose people go through the engine together.
            prepared: the frames of a group.
            ahead: groups that an asynchronous engine is given before the result of one is waited for.
            clock: entered while the engine is given work or waited for.

        Yields:
            each group and its frames' results, in order.
        """
        waiting: deque[tuple[Group, Results]] = deque()
        for group in groups:
            with clock():
                waiting.append((group, self.start(prepared(group))))
            if len(waiting) > (ahead if self._inference.asynchronous else 0):
                yield _waited(waiting.popleft(), clock)
        yield from (_waited(one, clock) for one in waiting)

    def prepare(
        self, frame_bgr: Image, keypoints: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None = None
    ) -> Prepared:
        """Crops and crop poses of one frame's people; may run in another thread than ``run``."""
        keypoints, scores = checked_input(frame_bgr, keypoints, scores, len(self.keypoint_set))
        found = present_joints(keypoints, scores)
        known = self._from_caller >= 0
        poses = np.where(known[:, None], keypoints[:, self._from_caller], 0)
        present = found[:, self._from_caller] & known
        boxes = keypoint_boxes(poses, present)
        rows = np.flatnonzero(_touches(boxes, frame_bgr.shape))
        config = self.config
        transform = crop_transform(boxes[rows], config.input_size, config.padding, centred=config.centred_crops)
        crops = self._inference.crop(transform, frame_bgr)
        inputs = transform.to_crop(np.where(present[rows, :, None], poses[rows], 0))
        return Prepared(keypoints, rows, crops, inputs, present[rows], transform)

    def run(self, frames: list[Prepared]) -> list[RefinedPoses]:
        """Run the people of several prepared frames through the engine together; one result a frame."""
        return self.start(frames)()

    def start(self, frames: list[Prepared]) -> Results:
        """Begin ``run``; a call of the result waits for the rest of it."""
        if not frames:
            return list
        people = together(frames)
        outputs = self._outputs(frames, people)
        return lambda: self._finished(people, outputs()).split([len(frame.keypoints) for frame in frames])

    def _outputs(self, frames: list[Prepared], people: Prepared) -> Pending:
        crops = self._inference.joined([frame.crops for frame in frames])
        return self._inference.start(crops, people.poses, people.present)

    def _finished(self, frame: Prepared, outputs: Outputs) -> RefinedPoses:
        """Back to the caller's image, people and joints."""
        pixels, distance = self._distance(frame, outputs)
        share = self._share(frame.present, outputs.expected_ks, distance)
        moved = (share > 0) & ~(pixels < _NOISE * frame.present)
        similarity = np.where(moved, outputs.expected_ks[..., 0], outputs.expected_ks[..., 1])
        ours, cells = self._cells(frame)
        keypoints = frame.keypoints.copy()
        refined = np.zeros(keypoints.shape[:2], bool)
        expected = np.full(keypoints.shape[:2], np.nan, np.float32)
        refined[cells], expected[cells] = moved[:, ours], similarity[:, ours]
        positions = frame.transform.to_image(outputs.keypoints)
        before = keypoints[cells]
        after = _part_of_the_way(before, positions[:, ours], share[:, ours, None])
        keypoints[cells] = np.where(moved[:, ours, None], after, before)
        self._move_derived(frame.keypoints, keypoints, refined)
        considered = np.zeros(len(keypoints), bool)
        considered[frame.rows] = True
        return RefinedPoses(keypoints, expected, refined, shift_of(frame.keypoints, keypoints, refined), considered)

    def _cells(self, frame: Prepared) -> tuple[Int, tuple[Int, Int]]:
        """The network's joints that the caller has, and where those of the P people stand in the caller's arrays."""
        ours = np.flatnonzero(self._from_caller >= 0)
        return ours, (frame.rows[:, None], self._from_caller[ours])

    def _distance(self, frame: Prepared, outputs: Outputs) -> tuple[Float, Float]:
        """How far each joint would go, [P, J]: crop pixels, and standard deviations of keypoint similarity."""
        pixels = np.linalg.norm(outputs.keypoints - frame.poses, axis=-1)
        return pixels, pixels / self._inference.spread

    def _share(self, present: Bool, expected_ks: Float, distance: Float) -> Float:
        """float32 [P, K] in [0, 1]: how much of the way to the refined position each joint goes."""
        if not self._gate:
            return np.where(present, 1, self.fill_missing).astype(np.float32)
        share = self.gate_rule.share(expected_ks, distance)
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


def _waited(
    started: tuple[Group, Results], clock: Callable[[], AbstractContextManager[None]]
) -> tuple[Group, list[RefinedPoses]]:
    group, results = started
    with clock():
        return group, results()


def _part_of_the_way(before: Float, positions: Float, share: Float) -> Float:
    """Joints [..., 2] that go a ``share`` [..., 1] of the way from ``before``, anything at all, to ``positions``."""
    # An absent joint may be NaN or infinite, and its share is 0 or 1: np.where, not a weighted sum, decides about it.
    start = np.where(np.isfinite(before), before, 0)
    return np.where(share >= 1, positions, start + share * (positions - start))


def _touches(boxes_xyxy: npt.NDArray[np.floating], image_shape: tuple[int, ...]) -> Bool:
    """bool [N]: boxes of at least one joint that overlap the image and are not absurdly large."""
    height, width = image_shape[:2]
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    with np.errstate(invalid="ignore"):
        inside = (high > 0).all(1) & (low[:, 0] < width) & (low[:, 1] < height)
        # Coordinates of 1e9 come from broken files; such a crop would show nothing of the image.
        return np.asarray(inside & (high - low < 20 * max(height, width)).all(1))

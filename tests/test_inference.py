"""People through an engine: batches that do not fit, failing GPUs, and tensors against arrays."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.engine import EngineError
from engines.torch_engine import TorchEngine
from posefix_track import inference
from posefix_track.background import in_background
from posefix_track.errors import ResourceError
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.placement import OnDevice, OnHost
from posefix_track.refiner import PoseRefiner
from posefix_track.weights import Weights

CONFIG = NetworkConfig("resnet18", input_size=(64, 64), head_channels=(16, 16, 16))
# Image pixels: one grey level in a crop, and other summation orders, on a random network with sharp heatmaps.
PLACES_AGREE_PX = 0.1

UNTRAINED = Weights(PoseFix(NetworkConfig(input_size=(32, 32))), {}, "0" * 64)

Float = npt.NDArray[np.float32]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def weights() -> Weights:
    torch.manual_seed(0)
    network = PoseFix(CONFIG).eval()
    network.head.final.weight.data *= 5
    return Weights(network, {}, "0" * 64)


@dataclass
class SmallMemory:
    """Moves joints by a crop pixel, and takes up to ``rows`` rows."""

    rows: int
    error: RuntimeError = field(default_factory=lambda: torch.OutOfMemoryError("CUDA out of memory."))
    name: str = "small"
    max_batch: int = 32
    tried: list[int] = field(default_factory=list)

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        self.tried.append(len(images))
        if len(images) > self.rows:
            raise self.error
        return keypoints + np.float32(1), np.broadcast_to(np.float32([0.9, 0.5]), keypoints.shape)


def people(count: int, seed: int = 0) -> Float:
    return np.random.default_rng(seed).uniform(20, 180, (count, 17, 2)).astype(np.float32)


def noise(seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (200, 240, 3)).astype(np.uint8)


def test_a_batch_that_does_not_fit_is_halved_and_nobody_is_lost(weights: Weights) -> None:
    engine = SmallMemory(rows=3)
    refiner = PoseRefiner(weights, engine=engine, flip=False)
    expected = PoseRefiner(weights, engine=SmallMemory(rows=32), flip=False)(noise(), people(20))
    np.testing.assert_array_equal(refiner(noise(), people(20)).keypoints, expected.keypoints)
    assert engine.tried == [20, 10, 5, *[2] * 10]


def test_the_smaller_batch_is_remembered(weights: Weights) -> None:
    engine = SmallMemory(rows=4)
    refiner = PoseRefiner(weights, engine=engine, flip=True)
    assert refiner.people_per_call == 16
    refiner(noise(), people(16))
    assert refiner.people_per_call == 2
    engine.tried.clear()
    refiner(noise(), people(16))
    assert engine.tried == [4] * 8


@pytest.mark.parametrize("flip", [True, False])
def test_memory_that_takes_nobody_is_an_error_with_advice(weights: Weights, flip: bool) -> None:
    refiner = PoseRefiner(weights, engine=SmallMemory(rows=0), flip=flip)
    with pytest.raises(ResourceError, match="does not take a single person; free some of it or use --device cpu"):
        refiner(noise(), people(3))


@pytest.mark.parametrize(
    "text", ["cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"]
)
def test_libraries_run_out_of_memory_in_their_own_words(weights: Weights, text: str) -> None:
    engine = SmallMemory(rows=2, error=RuntimeError(text))
    assert PoseRefiner(weights, engine=engine, flip=False)(noise(), people(4)).refined.all()
    assert engine.tried == [4, 2, 2]


def test_pictures_that_do_not_fit_are_an_error_with_advice(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(OnHost, "crop", fail)
    with pytest.raises(ResourceError, match="does not take the pictures in work; free some of it or use --device cpu"):
        PoseRefiner(weights, engine=SmallMemory(rows=32))(noise(), people(1))


def test_a_failing_gpu_is_named(weights: Weights) -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with")
    with pytest.raises(
        ResourceError, match=r"the GPU failed \(CUDA error: an illegal .*\); run again, or use --device"
    ):
        PoseRefiner(weights, engine=SmallMemory(0, error))(noise(), people(1))


def test_what_an_engine_says_itself_is_passed_on(weights: Weights) -> None:
    with pytest.raises(ResourceError, match=r"^no memory; free some$"):
        PoseRefiner(weights, engine=SmallMemory(0, EngineError("no memory; free some")))(noise(), people(1))


def test_other_errors_of_an_engine_stay_what_they_are(weights: Weights) -> None:
    with pytest.raises(RuntimeError, match=r"^my own mistake$"):
        PoseRefiner(weights, engine=SmallMemory(0, RuntimeError("my own mistake")))(noise(), people(1))


def test_both_ways_round_are_one_call(weights: Weights) -> None:
    engine = SmallMemory(rows=32)
    PoseRefiner(weights, engine=engine, flip=True)(noise(), people(5))
    assert engine.tried == [10]


def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the path of a GPU, on the CPU."""
    monkeypatch.setattr(inference, "place_of", lambda engine: OnDevice(engine, torch.device("cpu")))


@pytest.mark.parametrize("flip", [True, False])
def test_a_device_gives_the_hosts_answers(weights: Weights, monkeypatch: pytest.MonkeyPatch, flip: bool) -> None:
    engine = TorchEngine(weights.network, CONFIG.input_size, len(CONFIG.keypoint_set), buckets=(2, 8))
    frames = [(noise(i), people(i % 4, seed=i)) for i in range(9)]
    expected = [*PoseRefiner(weights, engine=engine, flip=flip, gate=False).stream(frames, max_latency=3)]
    on_device(monkeypatch)
    found = [*PoseRefiner(weights, engine=engine, flip=flip, gate=False).stream(frames, max_latency=3)]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keypoints.shape == theirs.keypoints.shape
        assert np.abs(ours.keypoints - theirs.keypoints).max(initial=0) < PLACES_AGREE_PX


@needs_cuda
@pytest.mark.parametrize("flip", [True, False])
def test_a_gpu_gives_the_hosts_answers(weights: Weights, flip: bool) -> None:
    """While another thread crops, as in a whole job: graphs are recorded meanwhile."""
    frames = [(noise(i), people(i % 4, seed=i)) for i in range(9)]
    size, joints = CONFIG.input_size, len(CONFIG.keypoint_set)
    host = PoseRefiner(weights, engine=TorchEngine(weights.network, size, joints), flip=flip, gate=False)
    engine = TorchEngine(weights.network, size, joints, "cuda", "fp32", (2, 8))
    refiner = PoseRefiner(weights, engine=engine, flip=flip, gate=False)
    with in_background((refiner.prepare(*frame) for frame in frames), depth=4) as prepared:
        found = [result for frame in prepared for result in refiner.run([frame])]
    for ours, frame in zip(found, frames, strict=True):
        assert np.abs(ours.keypoints - host(*frame).keypoints).max(initial=0) < PLACES_AGREE_PX


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_batches_in_flight_come_back_in_order(counts: list[int], max_latency: int) -> None:
    """And nobody waits for more frames than was allowed: the next frame is asked for only then."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        on_device(monkeypatch)
        refiner = PoseRefiner(UNTRAINED, engine=Echo(), flip=False)
        frames = [(noise(), people(count, seed=i)) for i, count in enumerate(counts)]
        asked = 0

        def source() -> object:
            nonlocal asked
            for frame in frames:
                asked += 1
                yield frame

        for i, result in enumerate(refiner.stream(source(), max_latency)):  # type: ignore[arg-type]
            assert asked - i <= max_latency
            np.testing.assert_array_equal(result.keypoints, frames[i][1])


class Echo:
    """Gives tensors back as they came."""

    name = "echo"
    max_batch = 4

    def run(
        self, images: torch.Tensor, keypoints: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return keypoints, torch.full_like(keypoints, 0.5)


def test_crops_are_made_on_the_host_unless_the_engine_is_on_a_gpu(weights: Weights) -> None:
    engine = TorchEngine(weights.network, CONFIG.input_size, len(CONFIG.keypoint_set))
    assert isinstance(inference.place_of(engine), OnHost)
    assert isinstance(inference.place_of(SmallMemory(1)), OnHost)


def test_mirrored_rows_follow_the_plain_ones() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    expected = np.concatenate([crops, crops[:, :, ::-1]])
    np.testing.assert_array_equal(OnHost(SmallMemory(1)).with_mirrored(crops), expected)
    np.testing.assert_array_equal(
        OnDevice(Echo(), torch.device("cpu")).with_mirrored(torch.from_numpy(crops)), expected
    )


@dataclass
class TwoAnswers:
    """Gives one answer for people as they are, the other for their mirror images: [P, K, 4] of x, y and two KS."""

    answers: list[Float]
    name: str = "two answers"
    max_batch: int = 32

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: Float, present: npt.NDArray[np.bool_]
    ) -> tuple[Float, Float]:
        plain, mirrored = (answer.copy() for answer in self.answers)
        mirrored[..., 0] = CONFIG.input_size[1] - 1 - mirrored[..., 0]
        both = np.concatenate([plain, mirrored[:, CONFIG.keypoint_set.flip_index]])
        return both[..., :2], both[..., 2:]


def merged(answers: list[Float]) -> inference.Outputs:
    poses = np.zeros((1, len(CONFIG.keypoint_set), 2), np.float32)
    crops = np.zeros((1, *CONFIG.input_size, 3), np.uint8)
    return inference.Inference(TwoAnswers(answers), CONFIG, flip=True).start(crops, poses, poses[..., 0] > 0)()


def answers(seed: int, similarities: list[float]) -> list[Float]:
    rng, joints = np.random.default_rng(seed), len(CONFIG.keypoint_set)
    places, chosen = rng.uniform(0, 63, (2, 1, joints, 2)), rng.choice(similarities, (2, 1, joints, 2))
    return [*np.concatenate([places, chosen], -1).astype(np.float32)]


# Few similarities, so that many are equal; none at all without a confidence head.
@pytest.mark.parametrize("similarities", [[0.0, 0.5, 1.0], [float("nan")]])
def test_neither_way_round_is_preferred(similarities: list[float]) -> None:
    for seed in range(20):
        one, other = answers(seed, similarities)
        for found, expected in zip(
            vars(merged([one, other])).values(), vars(merged([other, one])).values(), strict=True
        ):
            # Mirrored twice in float32, 63 - x is within 4e-6 of itself.
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_of_two_places_the_better_one_is_taken_and_of_near_ones_the_mean() -> None:
    one, other = answers(0, [0.5])
    other[..., 2], far = 0.9, np.linalg.norm(one - other, axis=-1) > 30
    near = ~far
    one[near, :2] = other[near, :2] + np.float32([0.1, 0])
    found = merged([one, other]).keypoints
    assert far.any() and near.any()
    np.testing.assert_allclose(found[far], other[far][:, :2], atol=1e-5)
    np.testing.assert_allclose(found[near], other[near][:, :2] + np.float32([0.05, 0]), atol=1e-5)

"""The importer and the network against outputs recorded from the original code, whose README gives the tolerances."""

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from posefix_track.crops import CropTransform, crop_transform, keypoint_boxes
from posefix_track.network import PoseFix
from posefix_track.refiner import PoseRefiner, Prepared
from posefix_track.weights import Weights, load_weights
from trainer import import_tf
from trainer.tensor_bundle import TensorBundle

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "posefix_reference"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the checkout")

# Summation order alone moves the original's own float32 outputs by 0.004 px and 5e-4 in the logits.
MAX_PX = 0.02
MEAN_PX = 2e-3
LOGITS = 3e-3
Float = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def golden() -> dict[str, npt.NDArray[np.generic]]:
    with np.load(GOLDEN / "inference.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshot")
    with tarfile.open(GOLDEN / "snapshot_140.ckpt.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "snapshot_140.ckpt"


@pytest.fixture(scope="module")
def weights(snapshot: Path) -> Weights:
    output = snapshot.with_name("weights.safetensors")
    assert import_tf.main([str(snapshot), "-o", str(output)]) == 0
    return load_weights(output)


@dataclass(frozen=True)
class Recording:
    """What one run of the refiner over the recorded crops gave, pass by pass (plain, then mirrored)."""

    refined: Float
    coordinates: list[Float]
    logits: list[Float]


class Recorder:
    """The network as it is, keeping what went out."""

    name = "recorder"
    max_batch = 64

    def __init__(self, network: PoseFix) -> None:
        self.network = network.eval()
        self.coordinates: list[Float] = []

    def __call__(self, *inputs: npt.NDArray[np.generic]) -> tuple[Float, Float]:
        with torch.inference_mode():
            refined, expected = self.network(*(torch.from_numpy(np.array(column)) for column in inputs))
        self.coordinates.append(refined.numpy())
        return refined.numpy(), expected.numpy()


@pytest.fixture(scope="module")
def recording(weights: Weights, golden: dict[str, npt.NDArray[np.generic]]) -> Recording:
    logits: list[Float] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        logits.append(output.permute(0, 2, 3, 1).numpy())

    handle = weights.network.head.final.register_forward_hook(keep)
    recorder = Recorder(weights.network)
    # From the recorded crop on: the refiner's flip average and way back to the image, one frame of six people.
    refiner = PoseRefiner(weights, engine=recorder, flip=True)
    refined = refiner.run([prepared(golden)])[0].keypoints
    handle.remove()
    # The plain rows come before the mirrored ones.
    return Recording(refined, *(np.split(np.concatenate(calls), 2) for calls in (recorder.coordinates, logits)))


def prepared(golden: dict[str, npt.NDArray[np.generic]]) -> Prepared:
    people = len(golden["crop_u8"])
    return Prepared(
        golden["estimated_joints"][..., :2].astype(np.float32),
        np.arange(people),
        golden["crop_u8"],
        golden["input_coord"].astype(np.float32),
        golden["input_valid"] > 0,
        recorded_transform(golden["crop_info"]),
    )


def recorded_transform(crop_info: Float) -> CropTransform:
    """From the crop's edges in the image, (x0, y0, x1, y1)."""
    height, width = 256, 192
    sx, sy = width / (crop_info[:, 2] - crop_info[:, 0]), height / (crop_info[:, 3] - crop_info[:, 1])
    matrices = np.zeros((len(crop_info), 2, 3))
    matrices[:, 0, 0], matrices[:, 1, 1] = sx, sy
    matrices[:, 0, 2], matrices[:, 1, 2] = -sx * crop_info[:, 0], -sy * crop_info[:, 1]
    return CropTransform(matrices, (height, width))


def assert_pixels_close(ours: Float, recorded: Float) -> None:
    distance = np.abs(ours - recorded)
    assert distance.max() <= MAX_PX
    assert distance.mean() <= MEAN_PX


def test_all_tensors_are_taken_and_none_is_left(snapshot: Path, weights: Weights) -> None:
    bundle = TensorBundle(snapshot)
    names = import_tf.variable_names(weights.network)
    left = set(bundle.entries) - set(names)
    assert len(names) == len(set(names.values())) == 282
    assert len(left) == 11
    assert all("/Adam" in name or name in ("Variable", "beta1_power", "beta2_power") for name in left)


def test_the_plain_pass_is_the_originals(recording: Recording, golden: dict[str, Float]) -> None:
    assert_pixels_close(recording.coordinates[0], golden["coord_plain"])


def test_the_mirrored_pass_is_the_originals(recording: Recording, golden: dict[str, Float]) -> None:
    assert_pixels_close(recording.coordinates[1], golden["coord_flip_raw"])


def test_the_flip_average_is_the_originals(recording: Recording, golden: dict[str, Float]) -> None:
    merged = recorded_transform(golden["crop_info"]).to_crop(recording.refined)
    assert_pixels_close(merged, golden["coord_merged"])


def test_image_coordinates_are_the_originals(recording: Recording, golden: dict[str, Float]) -> None:
    assert_pixels_close(recording.refined, golden["keypoints"])
    # The result file has three decimals.
    assert_pixels_close(recording.refined, golden["result_keypoints"][..., :2])


def test_without_flip_the_plain_pass_counts(recording: Recording, golden: dict[str, Float]) -> None:
    transform = recorded_transform(golden["crop_info"])
    assert_pixels_close(transform.to_image(recording.coordinates[0]), transform.to_image(golden["coord_plain"]))


def test_all_logits_of_two_people_are_the_originals(recording: Recording, golden: dict[str, Float]) -> None:
    ours = recording.logits[0][golden["logits_full_index"]]
    np.testing.assert_allclose(ours, golden["logits_full"], rtol=0, atol=LOGITS)


@pytest.mark.parametrize(("number", "side"), [(0, "plain"), (1, "flip")])
@pytest.mark.parametrize("statistic", ["max", "min", "mean", "std"])
def test_logits_of_everyone_are_the_originals(
    recording: Recording, golden: dict[str, Float], number: int, side: str, statistic: str
) -> None:
    ours = getattr(recording.logits[number], statistic)((1, 2))
    np.testing.assert_allclose(ours, golden[f"logit_{side}_{statistic}"], rtol=0, atol=LOGITS)


def test_boxes_and_crop_coordinates_are_the_originals(weights: Weights, golden: dict[str, Float]) -> None:
    config, poses = weights.network.config, golden["estimated_joints"][..., :2]
    boxes = keypoint_boxes(poses, np.ones(poses.shape[:2], bool))
    transform = crop_transform(boxes, config.input_size, config.padding, centred=config.centred_crops)
    # The original computes in float64; only the results here are rounded to float32 (3e-5 px below 512).
    np.testing.assert_allclose(transform.to_crop(poses), golden["input_coord"], atol=1e-3)
    edges = transform.to_image(np.tile(np.array([[0, 0], [192, 256]], np.float32), (len(poses), 1, 1)))
    np.testing.assert_allclose(edges.reshape(-1, 4), golden["crop_info"], atol=1e-3)


def test_the_file_says_what_it_is(weights: Weights) -> None:
    config = weights.network.config
    assert (config.backbone, config.keypoints, config.input_size) == ("resnet50", "coco17", (256, 192))
    assert weights.info["imported_from"] == "snapshot_140.ckpt"
    assert list(weights.info["sha256"]) == ["snapshot_140.ckpt.data-00000-of-00001"]


def test_the_graph_file_tells_the_input_size(snapshot: Path) -> None:
    assert import_tf.recorded_input_size(TensorBundle(snapshot)) == (256, 192)

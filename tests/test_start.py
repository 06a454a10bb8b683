"""What a run starts from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from posefix_track.errors import InputError
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights import save_weights
from trainer.start import start_from_imagenet, start_from_weights

CONFIG = NetworkConfig(keypoints="coco17", input_size=(64, 32), head_channels=(8, 8, 8))


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    network = PoseFix(CONFIG)
    path = tmp_path_factory.mktemp("start") / "coco.safetensors"
    save_weights(path, network, {}, torch.float32)
    return path, network.state_dict()


def started(path: Path, config: NetworkConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    network = PoseFix(config)
    start_from_weights(path, network)
    return network.state_dict()


def test_the_same_joints_and_another_input_size_take_everything(coco: tuple[Path, dict[str, torch.Tensor]]) -> None:
    found = started(coco[0], replace(CONFIG, input_size=(96, 64), sigma=9.0, padding=1.2))
    assert found.keys() == coco[1].keys()
    assert all(torch.equal(tensor, coco[1][name]) for name, tensor in found.items())


def test_posetracks_head_takes_the_channels_of_the_eyes(coco: tuple[Path, dict[str, torch.Tensor]]) -> None:
    found = started(coco[0], replace(CONFIG, keypoints="posetrack18"))
    assert all(torch.equal(tensor, coco[1][name]) for name, tensor in found.items())


def test_new_joints_start_as_their_neighbours(coco: tuple[Path, dict[str, torch.Tensor]]) -> None:
    found = started(coco[0], replace(CONFIG, keypoints="union19"))
    for name, sizes in (("backbone.features.0.0.weight", (3, 20)), ("head.skip.0.weight", (96, 113))):
        rest, joints = sizes
        assert torch.equal(found[name][:, :joints], coco[1][name])
        assert torch.equal(found[name][:, joints:], coco[1][name][:, [rest + 1, rest + 2]])  # head bottom and top: eyes
    for name in ("head.final.weight", "head.final.bias"):
        assert torch.equal(found[name][:17], coco[1][name])
        assert torch.equal(found[name][17:], coco[1][name][1:3])


def test_joints_are_left_out_by_name(coco: tuple[Path, dict[str, torch.Tensor]]) -> None:
    found = started(coco[0], replace(CONFIG, keypoints="crowdpose14"))
    assert torch.equal(found["head.final.bias"][:12], coco[1]["head.final.bias"][5:])
    assert torch.equal(found["head.final.bias"][12:], coco[1]["head.final.bias"][[2, 1]])  # head_top, head_bottom


def test_a_confidence_head_that_the_file_lacks_stays_fresh(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_weights(path, PoseFix(replace(CONFIG, confidence=False)), {}, torch.float32)
    torch.manual_seed(1)
    fresh = PoseFix(CONFIG).state_dict()
    found = started(path, CONFIG)
    assert all(torch.equal(found[name], fresh[name]) for name in fresh if name.startswith("confidence."))
    assert not torch.equal(found["head.final.weight"], fresh["head.final.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (1.0, 2.0, 3.0)}, r"mean \(127\.5, 127\.5, 127\.5\) \(recipe: \(1\.0, 2\.0, 3\.0\)\)"),
        ({"channel_order": "bgr"}, r"channel_order 'rgb' \(recipe: 'bgr'\)"),
        ({"heatmap_peak": 255.0}, r"heatmap_peak 2\.0 \(recipe: 255\.0\)"),
        ({"backbone": "resnet18"}, r"backbone 'mobilenet_v2' \(recipe: 'resnet18'\)"),
        ({"head_channels": (8, 8, 16)}, r"head_channels"),
    ],
)
def test_other_settings_are_named(
    coco: tuple[Path, dict[str, torch.Tensor]], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=rf"coco\.safetensors: these weights have .*{message}"):
        started(coco[0], replace(CONFIG, **changes))


def test_a_mobilenet_needs_its_own_normalisation(tmp_path: Path) -> None:
    network = PoseFix(replace(CONFIG, std=(1.0, 1.0, 1.0), channel_order="bgr"))
    with pytest.raises(
        InputError, match=r"m\.onnx: this MobileNetV2 saw RGB .*; the recipe's std, channel_order differ"
    ):
        start_from_imagenet(tmp_path / "m.onnx", network, torch.zeros(1, 64, 32, 3, dtype=torch.uint8))


def test_a_resnet_starts_from_torchvisions_file_whatever_the_normalisation(tmp_path: Path) -> None:
    config = replace(CONFIG, backbone="resnet18", mean=(1.0, 2.0, 3.0), channel_order="bgr")
    classifier = PoseFix(config).backbone.state_dict()
    classifier["conv1.weight"] = classifier["conv1.weight"][:, :3].clone()
    torch.save(classifier, tmp_path / "resnet18.pth")
    network = PoseFix(config)
    start_from_imagenet(tmp_path / "resnet18.pth", network, torch.zeros(1, 64, 32, 3, dtype=torch.uint8))
    found = network.backbone.state_dict()
    assert torch.equal(found["layer4.1.conv2.weight"], classifier["layer4.1.conv2.weight"])

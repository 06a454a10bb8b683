import json
from pathlib import Path

import numpy as np
import pytest
import torch

from posefix_track.backbones import BACKBONES
from posefix_track.errors import InputError
from posefix_track.heatmaps import gaussian_heatmaps, soft_argmax, softmax_heatmaps
from posefix_track.network import STRIDE, NetworkConfig, PoseFix, original_config
from trainer.losses import one_hot_heatmaps

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "posefix_reference" / "gaussian.npz"
SMALL = NetworkConfig(input_size=(64, 64))
HEIGHT, WIDTH = 64, 64


@pytest.fixture(scope="module")
def network() -> PoseFix:
    torch.manual_seed(0)
    return PoseFix(SMALL).eval()


def inputs(batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, HEIGHT, WIDTH, 3), generator=generator, dtype=torch.uint8)
    keypoints = torch.rand(batch, 19, 2, generator=generator) * WIDTH
    return images, keypoints, torch.rand(batch, 19, generator=generator) > 0.2


@pytest.mark.parametrize(
    ("backbone", "parameters"), [("resnet50", 34_053_009), ("resnet101", 53_045_137), ("resnet152", 68_688_785)]
)
def test_the_original_network_has_the_published_size(backbone: str, parameters: int) -> None:
    with torch.device("meta"):
        network = PoseFix(original_config(backbone))
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_the_original_resnet50_has_282_tensors() -> None:
    with torch.device("meta"):
        state = PoseFix(original_config()).state_dict()
    assert sum(not name.endswith("num_batches_tracked") for name in state) == 282


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("skips", [True, False])
def test_every_backbone_gives_a_quarter_size_heatmap(backbone: str, skips: bool) -> None:
    config = NetworkConfig(backbone, input_size=(96, 64), skips=skips)
    with torch.device("meta"):
        network = PoseFix(config)
        arguments = (torch.zeros(2, 96, 64, 3, dtype=torch.uint8), torch.zeros(2, 19, 2), torch.ones(2, 19))
    logits, features, deepest, _ = network.features(*arguments)
    assert logits.shape == (2, 19, 24, 16)
    assert features.shape == (2, config.head_channels[-1], 24, 16)
    assert deepest.shape[2:] == (3, 2)
    refined, similarity = network(*arguments)
    assert refined.shape == similarity.shape == (2, 19, 2)


def test_outputs_lie_in_the_crop_and_between_0_and_1(network: PoseFix) -> None:
    with torch.inference_mode():
        refined, similarity = network(*inputs(4))
    assert ((refined >= 0) & (refined <= WIDTH - STRIDE)).all()
    assert ((similarity >= 0) & (similarity <= 1)).all()


def test_without_a_confidence_head_the_similarity_is_unknown() -> None:
    network = PoseFix(NetworkConfig(input_size=(64, 64), confidence=False)).eval()
    with torch.inference_mode():
        refined, similarity = network(*inputs(1))
    assert refined.isfinite().all()
    assert similarity.isnan().all()


@pytest.mark.parametrize("value", [0.0, -1e9, 1e9, float("nan"), float("inf")])
def test_absent_joints_coordinates_are_never_looked_at(network: PoseFix, value: float) -> None:
    images, keypoints, present = inputs(3)
    with torch.inference_mode():
        expected = network(images, keypoints, present)
        changed = network(images, torch.where(present[..., None], keypoints, value), present)
    for one, other in zip(expected, changed, strict=True):
        assert torch.equal(one, other)


def test_present_joints_do_count(network: PoseFix) -> None:
    images, keypoints, present = inputs(1)
    with torch.inference_mode():
        assert not torch.equal(network(images, keypoints, present)[0], network(images, keypoints + 9, present)[0])
        assert not torch.equal(network(images, keypoints, present)[0], network(images, keypoints, ~present)[0])


def test_presence_may_be_bool_or_float(network: PoseFix) -> None:
    images, keypoints, present = inputs(2)
    with torch.inference_mode():
        assert torch.equal(network(images, keypoints, present)[0], network(images, keypoints, present.float())[0])


def test_a_row_does_not_depend_on_its_batch(network: PoseFix) -> None:
    images, keypoints, present = inputs(5)
    with torch.inference_mode():
        together = network(images, keypoints, present)
        for i in range(5):
            alone = network(images[i : i + 1], keypoints[i : i + 1], present[i : i + 1])
            # Crop pixels; kernels sum in another order for another batch.
            assert (alone[0] - together[0][i]).abs().max() < 1e-3
            assert (alone[1] - together[1][i]).abs().max() < 1e-4


def test_gaussian_heatmaps_follow_the_formula() -> None:
    keypoints = torch.tensor([[(10.25, 20.5), (-3.0, 70.0), (40.0, 0.0)]])
    heatmaps = gaussian_heatmaps(keypoints, (48, 40), 6.0)
    y, x = np.indices((48, 40))
    for (kx, ky), heatmap in zip(keypoints[0].double().numpy(), heatmaps[0], strict=True):
        expected = np.exp(-((x - kx) ** 2 + (y - ky) ** 2) / (2 * 6.0**2))
        np.testing.assert_allclose(heatmap.numpy(), expected, atol=1e-6)  # float32 exponentials


@pytest.mark.skipif(not GOLDEN.is_file(), reason="no ../shared/golden beside the checkout")
def test_the_original_input_heatmaps_equal_recorded_ones() -> None:
    golden = np.load(GOLDEN)
    config = original_config()
    heatmaps = gaussian_heatmaps(torch.from_numpy(golden["coord"]), config.input_size, config.sigma).double()
    heatmaps *= config.heatmap_peak * torch.from_numpy(golden["valid"])[..., None, None]
    # Values up to 255; the sums have 49152 of them.
    for person, joint in enumerate(golden["joint"]):
        np.testing.assert_allclose(heatmaps[person, joint], golden["heatmap"][person], atol=1e-3)
    np.testing.assert_allclose(heatmaps.sum((2, 3)), golden["sum"], rtol=1e-5, atol=1e-2)
    np.testing.assert_allclose(heatmaps.amax((2, 3)), golden["max"], rtol=1e-5)


def test_soft_argmax_finds_a_rendered_joint_exactly() -> None:
    # Every quarter pixel; the last cell lies on pixel W - 4.
    x = torch.arange(0, 188.25, 0.25)
    keypoints = torch.stack([x, x.flip(0)], -1)[None]
    found = soft_argmax(one_hot_heatmaps(keypoints / STRIDE, (64, 48))) * STRIDE
    assert (found - keypoints).abs().max() < 1e-4  # float32 at 188


def test_softmax_sums_to_one_and_is_computed_in_float32() -> None:
    logits = torch.randn(2, 3, 16, 12, generator=torch.Generator().manual_seed(0)) * 10
    heatmaps = softmax_heatmaps(logits.bfloat16())
    assert heatmaps.dtype == torch.float32
    torch.testing.assert_close(heatmaps.sum((2, 3)), torch.ones(2, 3))


def test_the_original_preprocessing_is_bgr_minus_means() -> None:
    with torch.device("meta"):
        network = PoseFix(original_config())
    network.mean = torch.tensor(network.config.mean).view(1, 3, 1, 1)
    network.std = torch.tensor(network.config.std).view(1, 3, 1, 1)
    images = inputs(1)[0]
    expected = images.numpy().astype(np.float32) - np.array([123.68, 116.78, 103.94], np.float32)
    np.testing.assert_array_equal(network.normalised(images).numpy(), expected.transpose(0, 3, 1, 2))


def test_our_preprocessing_is_rgb_between_minus_one_and_one(network: PoseFix) -> None:
    blue = torch.tensor([255, 0, 0], dtype=torch.uint8).expand(1, 2, 2, 3)
    assert network.normalised(blue)[0, :, 0, 0].tolist() == [-1, -1, 1]


def test_the_confidence_head_sends_no_gradient_into_the_rest() -> None:
    network = PoseFix(SMALL).train()
    network(*inputs(2))[1].sum().backward()
    with_gradient = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert with_gradient == {"confidence"}


def test_gradients_reach_every_other_parameter() -> None:
    network = PoseFix(SMALL).train()
    network(*inputs(2))[0].square().sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None and not n.startswith("confidence")]
    assert without == []


@pytest.mark.parametrize("config", [NetworkConfig(), original_config("resnet152", (384, 288))])
def test_a_config_survives_json(config: NetworkConfig) -> None:
    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_original_sigma_follows_the_input_size() -> None:
    assert (original_config().sigma, original_config(input_size=(384, 288)).sigma) == (7.0, 9.0)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(InputError, match=r"\['heatmap_sigma'\]; known: .*'sigma'"):
        NetworkConfig.from_dict({"heatmap_sigma": 7})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "vgg16"}, "vgg16.*mobilenet_v2"),
        ({"keypoints": "coco71"}, "coco71.*coco17"),
        ({"input_size": (100, 96)}, "multiples of 32"),
        ({"channel_order": "gbr"}, "gbr"),
    ],
)
def test_an_impossible_setting_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PoseFix(NetworkConfig.from_dict(settings))


def test_maps_that_end_up_nearly_empty_start_so() -> None:
    arguments = inputs(2)
    scores = PoseFix(NetworkConfig(input_size=(64, 64), output="offsets")).eval().features(*arguments)[0][:, :19]
    # A disk of 6 pixels covers 113 of 4096.
    assert abs(torch.sigmoid(scores).mean().item() - 113 / 4096) < 0.005
    heatmaps = PoseFix(NetworkConfig(input_size=(64, 64), output="argmax")).eval().features(*arguments)[0]
    assert heatmaps.abs().max() < 0.2

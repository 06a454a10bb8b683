import copy

import pytest
import torch
from torch import Tensor, nn

from engines.folding import folded, half_convolutions
from posefix_track.backbones import BACKBONES
from posefix_track.network import NetworkConfig, PoseFix

SIZE = (64, 32)
LIGHT = ("resnet18", "resnet50", "mobilenet_v2")
# Crop pixels. Folded weights are rounded to float32 anew: 1e-7 of each, summed over up to 100 layers.
FOLDED_PX = 1e-3


def network(backbone: str = "resnet18", skips: bool = True) -> PoseFix:
    """Batch norms far from their start values, logits of a trained network's size."""
    torch.manual_seed(0)
    network = PoseFix(NetworkConfig(backbone, input_size=SIZE, head_channels=(24, 24, 24), skips=skips)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
    network.head.final.weight.data *= 20
    return network


def inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    images = torch.randint(0, 256, (batch, *SIZE, 3), generator=generator, dtype=torch.uint8)
    keypoints = torch.rand(batch, 19, 2, generator=generator) * torch.tensor([SIZE[1], SIZE[0]])
    return images, keypoints, torch.rand(batch, 19, generator=generator) > 0.1


def run(network: nn.Module, *arguments: Tensor) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        refined, expected = network(*arguments)
    return refined, expected


@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_batch_norm_is_left(backbone: str) -> None:
    ready = folded(network(backbone), inputs())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ready.modules())


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("backbone", LIGHT)
def test_a_folded_network_computes_the_same(backbone: str, skips: bool) -> None:
    original = network(backbone, skips)
    expected = run(original, *inputs(3))
    found = run(folded(original, inputs(1)), *inputs(3))
    assert (found[0] - expected[0]).abs().max() < FOLDED_PX
    torch.testing.assert_close(found[1], expected[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_pair_of_layers_computes_the_same(kind: type[nn.Module], bias: bool, groups: int) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(12)
    pair = nn.Sequential(kind(8, 12, 4, 2, 1, bias=bias, groups=groups), norm)
    pair.train()(torch.randn(8, 8, 9, 9) * 3 + 1)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 8, 9, 9)
    with torch.inference_mode():
        # float32 sums of 128 products.
        torch.testing.assert_close(folded(pair, (x,))(x), pair.eval()(x), atol=1e-5, rtol=1e-5)


def test_a_norm_after_something_else_stays() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    assert isinstance(folded(layers, (torch.zeros(1, 3, 2, 2),))[2], nn.BatchNorm2d)  # type: ignore[index]


def test_the_network_itself_is_left_as_it_was() -> None:
    original = network()
    before = copy.deepcopy(original.state_dict())
    half_convolutions(folded(original, inputs()))
    for name, value in original.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    assert not original.backbone.conv1._forward_hooks


def test_half_precision_is_for_convolutions_alone() -> None:
    ready = half_convolutions(folded(network(), inputs()))
    kinds = {type(m).__name__: p.dtype for m in ready.modules() for p in m.parameters(recurse=False)}
    assert kinds == {
        "Conv2d": torch.float16, "ConvTranspose2d": torch.float16, "Linear": torch.float32, "Confidence": torch.float32
    }  # fmt: skip
    refined, expected = run(ready, *inputs())
    assert refined.dtype == expected.dtype == torch.float32


def test_half_precision_costs_less_than_a_quarter_pixel() -> None:
    original = network("mobilenet_v2")
    expected = run(original, *inputs(8))
    found = run(half_convolutions(folded(original, inputs())), *inputs(8))
    distance = (found[0] - expected[0]).norm(dim=2)
    # The figure that FP16 engines are held to; random logits are sharper than trained ones.
    assert distance.quantile(0.99) < 0.25
    assert distance.max() > 0  # it really ran in half precision

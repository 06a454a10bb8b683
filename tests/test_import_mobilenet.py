from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from posefix_track.backbones import MobileNetV2
from posefix_track.errors import InputError
from posefix_track.network import NetworkConfig, PoseFix
from trainer.import_imagenet import import_mobilenet, read_convolutions


class _Shift(nn.Module):
    """A batch norm after it was folded into its convolution: only a bias is left."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(channels, 1, 1) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class _Wider(MobileNetV2):
    STAGES = ((1, 24, 1, 1), *MobileNetV2.STAGES[1:])


@pytest.fixture(scope="module")
def classifier() -> MobileNetV2:
    torch.manual_seed(0)
    return MobileNetV2(3, _Shift).eval()


def write_onnx(path: Path, folded: MobileNetV2, quantised: str = "") -> None:
    """The classifier's convolutions; as int8 with one scale ("tensor") or one per output channel ("channel")."""
    convolutions = [m.weight.detach().numpy() for m in folded.modules() if isinstance(m, nn.Conv2d)]
    biases = [m.bias.detach().numpy().ravel() for m in folded.modules() if isinstance(m, _Shift)]
    nodes, tensors = [], []
    for i, (weight, bias) in enumerate(zip(convolutions, biases, strict=True)):
        name = f"w{i}"
        if quantised:
            over = None if quantised == "tensor" else (1, 2, 3)
            scale = np.asarray(np.abs(weight).max(over) / 127, np.float32)
            whole = np.round(weight / (scale.reshape(-1, 1, 1, 1) if over else scale)).astype(np.int8)
            parts = {f"q{i}": whole, f"s{i}": scale, f"z{i}": np.zeros(scale.shape, np.int8)}
            tensors += [numpy_helper.from_array(value, key) for key, value in parts.items()]
            nodes.append(helper.make_node("DequantizeLinear", list(parts), [name], axis=0))
        else:
            tensors.append(numpy_helper.from_array(weight, name))
        tensors.append(numpy_helper.from_array(bias, f"b{i}"))
        nodes.append(helper.make_node("Conv", [f"x{i}", name, f"b{i}"], [f"x{i + 1}"]))
    first = helper.make_tensor_value_info("x0", TensorProto.FLOAT, None)
    last = helper.make_tensor_value_info(f"x{len(biases)}", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph(nodes, "classifier", [first], [last], tensors)), str(path))


def mobilenet() -> tuple[PoseFix, Tensor]:
    network = PoseFix(NetworkConfig(input_size=(64, 64), head_channels=(8, 8, 8)))
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return network, images


def test_an_imported_backbone_computes_the_classifiers_features(tmp_path: Path, classifier: MobileNetV2) -> None:
    write_onnx(tmp_path / "m.onnx", classifier)
    network, images = mobilenet()
    import_mobilenet(tmp_path / "m.onnx", network, images)
    pixels = network.normalised(images)
    silent = torch.zeros(2, 19, 64, 64)
    with torch.inference_mode():
        found, expected = network.backbone(torch.cat([pixels, silent], 1)), classifier(pixels)
    for one, other in zip(found, expected, strict=True):
        # 51 layers of float32.
        assert (one - other).abs().max() < 1e-3 * other.abs().max()
    assert network.backbone.features[0][0].weight[:, 3:].std() > 0.02  # the pose is heard


@pytest.mark.parametrize("quantised", ["tensor", "channel"])
def test_quantised_convolutions_are_read(tmp_path: Path, classifier: MobileNetV2, quantised: str) -> None:
    write_onnx(tmp_path / "m.onnx", classifier, quantised)
    expected = [m.weight.detach().numpy() for m in classifier.modules() if isinstance(m, nn.Conv2d)]
    for (weight, _), other in zip(read_convolutions(tmp_path / "m.onnx"), expected, strict=True):
        assert np.abs(weight - other).max() <= np.abs(other).max() / 127 / 2 * 1.01  # half a step


def test_another_classifier_is_refused(tmp_path: Path, classifier: MobileNetV2) -> None:
    write_onnx(tmp_path / "short.onnx", classifier)
    model = onnx.load(str(tmp_path / "short.onnx"))
    del model.graph.node[-1]
    onnx.save(model, str(tmp_path / "short.onnx"))
    with pytest.raises(InputError, match=r"short\.onnx: expected at least 51 convolutions, got 50"):
        import_mobilenet(tmp_path / "short.onnx", *mobilenet())
    write_onnx(tmp_path / "wide.onnx", _Wider(3, _Shift))
    with pytest.raises(InputError, match=r"wide\.onnx: a convolution has shape \[24, 32, 1, 1\], expected \[16, 32"):
        import_mobilenet(tmp_path / "wide.onnx", *mobilenet())


@pytest.mark.parametrize("content", [None, b"text"])
def test_an_unreadable_onnx_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.onnx: not a readable ONNX file"):
        read_convolutions(tmp_path / "m.onnx")

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from engines.engine import EngineError
from engines.onnx_export import INPUTS, OUTPUTS, exported, to_onnx
from engines.onnx_types import check_types, node_types
from posefix_track.network import NetworkConfig, PoseFix
from tests.toy_network import JOINTS, SIZE, ToyNetwork, toy_inputs, toy_outputs

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

# Crop pixels; kernels of the two sum in another order.
FP32_PX = 0.01
# Crop pixels at the 99th percentile, what half precision may cost.
HALF_PX = 0.25


@pytest.fixture(scope="module")
def network() -> ToyNetwork:
    return ToyNetwork().eval()


@pytest.fixture(scope="module")
def models(network: ToyNetwork) -> dict[str, bytes]:
    return {precision: to_onnx(exported(network, SIZE, JOINTS, precision)) for precision in ("fp32", "fp16")}


@pytest.fixture(scope="module")
def posefix() -> PoseFix:
    torch.manual_seed(0)
    network = PoseFix(NetworkConfig("resnet18", input_size=SIZE, head_channels=(8, 8, 8), output="similarity_argmax"))
    return network.eval()


@pytest.fixture(scope="module")
def posefix_fp16(posefix: PoseFix) -> bytes:
    return to_onnx(exported(posefix, SIZE, 19, "fp16"))


def run(model: bytes, images: np.ndarray, keypoints: np.ndarray, present: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    columns = (images, keypoints, present.astype(np.float32))
    found: list[np.ndarray] = session.run(list(OUTPUTS), dict(zip(INPUTS, columns, strict=True)))
    return found


def test_the_callers_network_stays_where_it_is(network: ToyNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[nn.Module] = []
    apply = nn.Module._apply

    def watched(module: nn.Module, *arguments: object, **options: object) -> nn.Module:
        moved.append(module)
        return apply(module, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(nn.Module, "_apply", watched)
    exported(network, SIZE, JOINTS, "fp32")
    assert moved and not {*moved} & {*network.modules()}


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_fp32_onnx_computes_the_networks_function_for_any_batch(
    models: dict[str, bytes], network: ToyNetwork, batch: int
) -> None:
    expected = toy_outputs(network, toy_inputs(batch))
    for found, wanted in zip(run(models["fp32"], *toy_inputs(batch)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=FP32_PX)


@pytest.mark.parametrize("batch", [1, 64])
def test_fp16_onnx_stays_within_a_quarter_pixel(models: dict[str, bytes], network: ToyNetwork, batch: int) -> None:
    found, _ = run(models["fp16"], *toy_inputs(batch))
    distance = np.linalg.norm(found - toy_outputs(network, toy_inputs(batch))[0], axis=-1)
    assert 0 < np.quantile(distance, 0.99) <= HALF_PX


def test_absent_joints_do_not_matter(models: dict[str, bytes]) -> None:
    images, keypoints, present = toy_inputs(3)
    expected, _ = run(models["fp16"], images, np.where(present[..., None], keypoints, np.float32(7)), present)
    found, _ = run(models["fp16"], images, np.where(present[..., None], keypoints, np.float32(900)), present)
    np.testing.assert_array_equal(found, expected)


def test_inputs_and_outputs_are_what_the_help_says(models: dict[str, bytes]) -> None:
    def sizes(value: object) -> list[object]:
        return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]  # type: ignore[attr-defined]

    for model in map(onnx.load_from_string, models.values()):
        values = [*model.graph.input, *model.graph.output]
        assert [value.name for value in values] == [*INPUTS, *OUTPUTS]
        assert [sizes(value) for value in values] == [
            ["batch", *SIZE, 3], ["batch", JOINTS, 2], ["batch", JOINTS], ["batch", JOINTS, 2], ["batch", JOINTS, 2],
        ]  # fmt: skip
        kinds = [value.type.tensor_type.elem_type for value in values]
        assert kinds == [onnx.TensorProto.UINT8] + 4 * [onnx.TensorProto.FLOAT]


def test_only_the_convolutions_are_half_precision(models: dict[str, bytes]) -> None:
    types = check_types(models["fp16"], "fp16")
    assert types["Conv"] == Counter(float16=2) and types["ConvTranspose"] == Counter(float16=1)
    assert types["Softmax"] == Counter(float32=1) and types["ReduceSum"] == Counter(float32=4)
    assert "float16" not in Counter(kind for kinds in node_types(models["fp32"]).values() for kind in kinds)
    assert "BatchNormalization" not in types


def test_the_whole_network_keeps_gaussians_softmax_and_coordinates_in_fp32(posefix_fp16: bytes) -> None:
    types = check_types(posefix_fp16, "fp16")
    assert set(types["Conv"]) == set(types["ConvTranspose"]) == {"float16"}
    for op in ("Exp", "Softmax", "ReduceSum", "MatMul", "Gemm", "Sigmoid"):
        assert set(types[op]) == {"float32"}, op


def test_the_whole_network_computes_the_same_in_onnx(posefix: PoseFix, posefix_fp16: bytes) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, *SIZE, 3)).astype(np.uint8)
    keypoints = (rng.random((5, 19, 2)) * SIZE[::-1]).astype(np.float32)
    present = rng.random((5, 19)) > 0.2
    found, similarity = run(posefix_fp16, images, keypoints, present)
    expected = toy_outputs(posefix, (images, keypoints, present))
    # Untrained: the two ways may take different ones of equally good places for a joint here and there.
    assert np.median(np.linalg.norm(found - expected[0], axis=-1)) <= HALF_PX
    assert np.median(np.abs(similarity - expected[1])) <= 1e-2


@pytest.mark.parametrize(("claimed", "precision"), [("fp32", "fp16"), ("fp16", "fp32")])
def test_a_body_in_another_precision_is_found(models: dict[str, bytes], claimed: str, precision: str) -> None:
    with pytest.raises(EngineError, match=rf"wrong precision for {claimed}: .*'Conv'"):
        check_types(models[precision], claimed)


def test_coordinates_in_half_precision_are_found() -> None:
    class AllHalf(ToyNetwork):
        def forward(self, images: torch.Tensor, keypoints: torch.Tensor, present: torch.Tensor) -> tuple:  # type: ignore[type-arg]
            logits = self.final(torch.relu(self.up(self.first(images.permute(0, 3, 1, 2).to(self.final.weight.dtype)))))
            return torch.softmax(logits.flatten(2), 2)[..., :2].float() + keypoints, present[..., None] * keypoints

    model = to_onnx(exported(AllHalf().eval(), SIZE, JOINTS, "fp16"))
    with pytest.raises(EngineError, match=r"'Softmax': \{'float16': 1\}"):
        check_types(model, "fp16")


def test_the_network_is_left_as_it_is(network: ToyNetwork) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    exported(network, SIZE, JOINTS, "fp16")
    assert isinstance(network.norm, torch.nn.BatchNorm2d)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=0, rtol=0)


def test_an_unknown_precision_is_refused(network: ToyNetwork) -> None:
    with pytest.raises(EngineError, match="precision fp32 or fp16, got 'int8'"):
        exported(network, SIZE, JOINTS, "int8")

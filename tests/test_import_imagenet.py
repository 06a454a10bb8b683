import copy
import functools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from posefix_track.backbones import backbone
from posefix_track.errors import InputError, UsageError
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights import load_weights
from trainer import import_imagenet
from trainer.import_resnet import MEAN, STD, import_resnet

SIZE = (64, 64)
# Float32 sums in another order, after eighteen layers of features of about 1.
ATOL = 1e-4

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def classifier() -> Tensors:
    """A random ResNet-18 as torchvision writes it."""
    torch.manual_seed(0)
    tensors = backbone("resnet18", 3, 1e-5).state_dict()
    for name, tensor in tensors.items():
        if name.endswith(("bias", "running_mean")):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return tensors | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def network(channel_order: str = "rgb", mean: float = 127.5, std: float = 127.5) -> PoseFix:
    pixels = {"channel_order": channel_order, "mean": (mean,) * 3, "std": (std,) * 3}
    return copy.deepcopy(built(NetworkConfig("resnet18", "coco17", SIZE, **pixels)))


@functools.cache
def built(config: NetworkConfig) -> PoseFix:
    torch.manual_seed(1)
    return PoseFix(replace(config, head_channels=(8, 8, 8))).eval()


def features(imported: PoseFix, images: Tensor) -> Tensor:
    """Output of the first batch norm, for silent poses."""
    pixels = imported.normalised(images)
    silent = pixels.new_zeros(len(pixels), 17, *SIZE)
    with torch.inference_mode():
        return imported.backbone.bn1(imported.backbone.conv1(torch.cat([pixels, silent], 1)))


def classifier_features(tensors: Tensors, images: Tensor) -> Tensor:
    """The same from the classifier itself, on RGB pixels as torchvision wants them."""
    model = backbone("resnet18", 3, 1e-5).eval()
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")})
    rgb = images.flip(3).permute(0, 3, 1, 2).float()
    pixels = (rgb - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.inference_mode():
        return model.bn1(model.conv1(pixels))


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
@pytest.mark.parametrize(("mean", "std"), [(127.5, 127.5), (110.0, 1.0)])
def test_the_imported_backbone_sees_what_the_classifier_sees(
    classifier: Tensors, channel_order: str, mean: float, std: float
) -> None:
    imported = network(channel_order, mean, std)
    import_resnet(classifier, imported)
    images = torch.randint(0, 256, (2, *SIZE, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    # Away from the border, where zero padding is another colour.
    ours, theirs = (f[:, :, 2:-2, 2:-2] for f in (features(imported, images), classifier_features(classifier, images)))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=ATOL)


def test_all_other_tensors_are_copied(classifier: Tensors) -> None:
    imported = network()
    import_resnet(classifier, imported)
    changed = {"conv1.weight", "bn1.running_mean"}
    for name, tensor in imported.backbone.state_dict().items():
        if name not in changed:
            assert torch.equal(tensor, classifier[name]), name


def test_pose_slices_are_he_normal(classifier: Tensors) -> None:
    imported = network()
    imported.backbone.conv1.weight.data.zero_()
    import_resnet(classifier, imported)
    poses = imported.backbone.conv1.weight[:, 3:]
    # 53,312 draws: the spread's own spread is 0.3 %.
    assert poses.std().item() == pytest.approx((2 / (20 * 49)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_files_give_what_their_tensors_give(tmp_path: Path, classifier: Tensors, suffix: str) -> None:
    path = tmp_path / f"resnet18{suffix}"
    save_file(classifier, path) if suffix == ".safetensors" else torch.save(classifier, path)
    from_file, from_tensors = network(), network()
    for source, target in ((path, from_file), (classifier, from_tensors)):
        torch.manual_seed(2)
        import_resnet(source, target)
    for name, tensor in from_tensors.state_dict().items():
        assert torch.equal(from_file.state_dict()[name], tensor)


def test_old_files_without_counters_load(classifier: Tensors) -> None:
    import_resnet({n: t for n, t in classifier.items() if not n.endswith("num_batches_tracked")}, network())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"conv1.weight": torch.zeros(64, 1, 7, 7)},
            r"conv1\.weight has shape \[64, 1, 7, 7\], expected \[64, 3, 7, 7\]",
        ),
        ({"layer1.2.conv1.weight": torch.zeros(1)}, r"has unknown 1 tensors such as layer1\.2\.conv1\.weight"),
        ({"bn1.weight": None}, r"lacks 1 tensors such as bn1\.weight"),
    ],
    ids=["shape", "deeper", "missing"],
)
def test_other_networks_are_refused_and_leave_ours_alone(
    classifier: Tensors, change: dict[str, Tensor | None], message: str
) -> None:
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    tensors = {name: tensor for name, tensor in (classifier | change).items() if tensor is not None}
    with pytest.raises(InputError, match=rf"for resnet18: .*{message}"):
        import_resnet(tensors, target)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_a_mobilenet_takes_no_resnet(classifier: Tensors) -> None:
    with pytest.raises(InputError, match="cannot start a mobilenet_v2 backbone"):
        import_resnet(classifier, PoseFix(NetworkConfig(input_size=SIZE)))


class Payload:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("ran",))


@pytest.mark.parametrize("name", ["r.pth", "r.safetensors"])
def test_unreadable_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(InputError, match=rf"{name}: not a readable"):
        import_resnet(path, network())
    path.write_bytes(b"noise" * 50)
    with pytest.raises(InputError, match=rf"{name}: not a readable"):
        import_resnet(path, network())


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv1.weight": Payload()}, tmp_path / "r.pth")
    with pytest.raises(InputError, match=r"r\.pth: not a readable"):
        import_resnet(tmp_path / "r.pth", network())
    assert capsys.readouterr().out == ""


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "r.pth")
    with pytest.raises(InputError, match="save the model's state_dict"):
        import_resnet(tmp_path / "r.pth", network())


@pytest.fixture
def file(tmp_path: Path, classifier: Tensors) -> Path:
    save_file(classifier, tmp_path / "resnet18.safetensors")
    return tmp_path / "resnet18.safetensors"


def test_the_command_writes_weights_to_start_from(tmp_path: Path, file: Path, classifier: Tensors) -> None:
    output = tmp_path / "new" / "start.safetensors"
    arguments = [str(file), "-o", str(output), "--backbone", "resnet18", "--input-size", "96x64"]
    assert import_imagenet.main(arguments) == 0
    loaded = load_weights(output)
    assert loaded.network.config == NetworkConfig("resnet18", input_size=(96, 64))
    assert loaded.info["imported_from"] == "resnet18.safetensors"
    name = "layer4.1.conv2.weight"
    assert torch.equal(loaded.network.backbone.state_dict()[name], classifier[name])
    assert import_imagenet.main([*arguments, "--overwrite"]) == 0
    again = load_weights(output).network.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in loaded.network.state_dict().items())


def test_the_command_keeps_an_existing_output(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = [str(file), "-o", str(file), "--backbone", "resnet18"]
    assert import_imagenet.main(arguments) == UsageError.exit_code
    assert "already exists; choose another output or add --overwrite" in caplog.text


def test_the_command_refuses_another_backbone(tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "start.safetensors"
    assert import_imagenet.main([str(file), "-o", str(output), "--backbone", "resnet34"]) == InputError.exit_code
    assert "for resnet34: the file lacks" in caplog.text
    assert not output.exists()


@pytest.mark.parametrize("size", ["256", "axb", "1x2x3"])
def test_the_command_explains_the_input_size(file: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        import_imagenet.main([str(file), "-o", "w", "--backbone", "resnet18", "--input-size", size])
    assert "--input-size" in capsys.readouterr().err


def test_a_mobilenet_needs_images(tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = [str(file), "-o", str(tmp_path / "w.safetensors"), "--backbone", "mobilenet_v2"]
    assert import_imagenet.main(arguments) == UsageError.exit_code
    assert "give --images FOLDER" in caplog.text


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (96, 64)])
def test_typical_crops_are_the_middles_of_the_images(tmp_path: Path, shape: tuple[int, int]) -> None:
    # Brightness grows by two a row and by one a column: a scaled middle keeps its mean.
    image = (np.arange(shape[0])[:, None] * 2 + np.arange(shape[1])[None, :] * 1.0).astype(np.uint8)
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.repeat(image[..., None], 3, 2))
    crops = import_imagenet.typical_crops(tmp_path, (96, 64))
    assert crops.shape == (3, 96, 64, 3)
    # Half a pixel of the crop, and the black that bilinear sampling mixes in at the last row and column.
    assert crops.float().mean().item() == pytest.approx(image.mean(), abs=4)

"""Start a ResNet backbone from an ImageNet classifier in torchvision's layout."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from posefix_track.backbones import ResNet
from posefix_track.errors import InputError
from posefix_track.network import PoseFix

# What torchvision's classifiers are trained with, RGB, of pixels from 0 to 255.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


@torch.no_grad()
def import_resnet(source: Path | Mapping[str, Tensor], network: PoseFix) -> None:
    """Copy a torchvision ResNet into ``network.backbone``, in place.

    The first convolution takes the three image slices, changed to the network's own channel order, mean and standard
    deviation so that it computes the classifier's features (but for the outermost pixels, where zero padding then
    stands for another colour). Its pose slices become He-normal, as in the original.

    Args:
        source: a .safetensors or .pth file, or its tensors by name.
        network: with a ResNet backbone.

    Raises:
        InputError: an unreadable file, tensors of another network, or a backbone that is no ResNet.
    """
    where = str(source) if isinstance(source, Path) else "the given tensors"
    backbone = network.backbone
    if not isinstance(backbone, ResNet):
        raise InputError(f"{where}: a ResNet cannot start a {network.config.backbone} backbone")
    tensors = _read(source) if isinstance(source, Path) else source
    # The classifier has no place here, and older files lack the counters.
    tensors = {n: t for n, t in tensors.items() if not n.startswith("fc.") and not n.endswith("num_batches_tracked")}
    targets = {n: t for n, t in backbone.state_dict().items() if not n.endswith("num_batches_tracked")}
    targets["conv1.weight"] = targets["conv1.weight"][:, :3]
    _check(f"{where} for {network.config.backbone}", tensors, targets)
    tensors["conv1.weight"], lacking = _image_slices(tensors["conv1.weight"], network)
    nn.init.kaiming_normal_(backbone.conv1.weight)
    for name, target in targets.items():
        target.copy_(tensors[name])
    targets["bn1.running_mean"] -= lacking


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise a dozen kinds for a damaged file
        raise InputError(f"{path}: not a readable .safetensors or .pth file: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"{path}: not a dictionary of tensors by name; save the model's state_dict()")
    return tensors


def _image_slices(weight: Tensor, network: PoseFix) -> tuple[Tensor, Tensor]:
    """The first convolution [64, 3, 7, 7] for the network's pixels, and what its output then lacks [64]."""
    order = 1 if network.config.channel_order == "rgb" else -1
    mean, std = (torch.tensor(values[::order]).view(1, 3, 1, 1) for values in (MEAN, STD))
    # (p - mean) / std = (x * network.std + network.mean - mean) / std with the network's x.
    weight = (weight if order == 1 else weight.flip(1)) / std
    return weight * network.std, (weight * (network.mean - mean)).sum((1, 2, 3))


def _check(where: str, tensors: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
    for kind, names in (("lacks", targets.keys() - tensors), ("has unknown", tensors.keys() - targets)):
        if names:
            raise InputError(f"{where}: the file {kind} {len(names)} tensors such as {min(names)}")
    for name, target in targets.items():
        if tensors[name].shape != target.shape:
            raise InputError(f"{where}: {name} has shape {list(tensors[name].shape)}, expected {list(target.shape)}")

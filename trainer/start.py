"""What a run starts from: weights of this project, whatever their joints, or an ImageNet classifier."""

from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from posefix_track.backbones import ResNet
from posefix_track.errors import InputError
from posefix_track.keypoints import KeypointSet
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights import load_weights
from trainer.import_imagenet import import_mobilenet
from trainer.import_resnet import import_resnet

# Settings that a start file need not share with the recipe: what they change, training gets used to.
_FREE = {"keypoints", "input_size", "padding", "antialias", "centred_crops", "sigma", "confidence", "output"}
# Where a joint is new, its channels start as those of the joint next to it (the original reuses the eyes' channels).
_NEXT_TO = {"head_bottom": "left_eye", "head_top": "right_eye"}


@torch.no_grad()
def start_from_weights(name: str | Path, network: PoseFix) -> None:
    """Copy weights of this project into ``network``, in place.

    The recipe's input size wins. Channels of joints go by the joints' names; where both sets have as many joints they
    go by position, as the original reuses COCO's eyes for PoseTrack's head. A confidence head that the file lacks stays
    fresh.

    Args:
        name: a shipped name, a file, or a URL with ``#sha256=``.
        network: of the recipe.

    Raises:
        InputError: weights whose other settings differ from the recipe's, their normalisation above all.
    """
    loaded = load_weights(name).network
    _check_settings(str(name), loaded.config, network.config)
    source, target = loaded.config.keypoint_set, network.config.keypoint_set
    old = loaded.state_dict()
    for key, tensor in network.state_dict().items():
        if key in old:
            tensor.copy_(_joints_moved(old[key], tensor, source, target, f"{name}: {key}"))
        elif not key.startswith("confidence."):
            raise InputError(f"{name}: the file lacks {key}")


def start_from_imagenet(path: Path, network: PoseFix, images: Tensor) -> None:
    """Start the backbone from an ImageNet classifier: torchvision's ResNets, or a MobileNetV2 in ONNX.

    Args:
        path: .safetensors or .pth for a ResNet, .onnx for a MobileNetV2.
        network: in place.
        images: uint8 [B, H, W, 3] crops for MobileNetV2's fresh batch norms.

    Raises:
        InputError: a file of another kind, or another normalisation than the MobileNetV2's. (A ResNet's is
            converted.)
    """
    if isinstance(network.backbone, ResNet):
        import_resnet(path, network)
        return
    config, expected = network.config, NetworkConfig(mean=(127.5,) * 3, std=(127.5,) * 3, channel_order="rgb")
    wrong = [n for n in ("mean", "std", "channel_order") if getattr(config, n) != getattr(expected, n)]
    if wrong:
        raise InputError(f"{path}: this MobileNetV2 saw RGB pixels / 127.5 - 1; the recipe's {', '.join(wrong)} differ")
    import_mobilenet(path, network, images)


def _check_settings(where: str, file: NetworkConfig, recipe: NetworkConfig) -> None:
    """Raises InputError that names the settings of file and recipe that differ."""
    names = [field.name for field in fields(NetworkConfig) if field.name not in _FREE]
    differ = [name for name in names if getattr(file, name) != getattr(recipe, name)]
    if differ:
        details = ", ".join(f"{n} {getattr(file, n)!r} (recipe: {getattr(recipe, n)!r})" for n in differ)
        raise InputError(f"{where}: these weights have {details}; set the recipe's [network] to the same")


def _joints_moved(old: Tensor, new: Tensor, source: KeypointSet, target: KeypointSet, where: str) -> Tensor:
    """``old`` with its joints' channels, the last len(source) of one axis, in the order of ``target``."""
    if old.shape == new.shape:
        return old
    axes = [axis for axis, sizes in enumerate(zip(old.shape, new.shape, strict=True)) if sizes[0] != sizes[1]]
    if len(axes) != 1 or new.shape[axes[0]] - old.shape[axes[0]] != len(target) - len(source):
        raise InputError(f"{where} has shape {list(old.shape)}, expected {list(new.shape)}")
    rest = old.shape[axes[0]] - len(source)
    names = [joint if joint in source.index else _NEXT_TO.get(joint, "nose") for joint in target.joints]
    channels = [*range(rest), *(rest + source.index[name] for name in names)]
    return old.index_select(axes[0], torch.tensor(channels))

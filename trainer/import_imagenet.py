"""`python -m trainer.import_imagenet FILE -o start.safetensors --backbone NAME`: start from an ImageNet classifier.

A ResNet in torchvision's layout (import_resnet.py), or a MobileNetV2 stored as ONNX with batch norm folded into the
convolutions and weights that may be int8. ``python -m trainer --weights`` starts from the file.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from posefix_track.backbones import BACKBONES
from posefix_track.crops import crop_transform
from posefix_track.errors import InputError, UsageError
from posefix_track.image_folder import ImageFolder
from posefix_track.keypoints import KEYPOINT_SETS
from posefix_track.network import NetworkConfig, PoseFix
from trainer.command import add_weights_output, run, write_weights
from trainer.import_resnet import import_resnet

# Spread of the fresh pose slices of the first convolution: at a heatmap peak of 2 they then speak about as loudly as
# the three image slices.
_POSE_STD = 0.05


def import_mobilenet(path: Path, network: PoseFix, images: Tensor) -> None:
    """Copy the classifier's convolutions into ``network.backbone``, in place.

    The file has its batch norms folded into the convolutions. Fresh ones are set from the statistics of ``images`` so
    that the network computes the classifier's function on them, and trains like any other from there.

    Args:
        path: ONNX file of a MobileNetV2 1.0 whose input is x / 127.5 - 1, RGB.
        network: with a mobilenet_v2 backbone.
        images: uint8 [B, H, W, 3] BGR, typical crops.
    """
    convolutions = [m for m in network.backbone.modules() if isinstance(m, nn.Conv2d)]
    # The file's last convolution (320 -> 1280) belongs to the classifier.
    weights = read_convolutions(path)[: len(convolutions)]
    if len(weights) != len(convolutions):
        raise InputError(f"{path}: expected at least {len(convolutions)} convolutions, got {len(weights)}")
    biases = []
    for layer, (weight, bias) in zip(convolutions, weights, strict=True):
        _copy(path, layer, torch.from_numpy(weight))
        biases.append(torch.from_numpy(bias))
    _set_batch_norms(network, biases, images)
    convolutions[0].weight.data[:, 3:].normal_(std=_POSE_STD)


def read_convolutions(path: Path) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """(weight, bias) of every convolution of an ONNX file in graph order, dequantised. Raises InputError."""
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf's errors share no base
        raise InputError(f"{path}: not a readable ONNX file: {error}") from error
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    result = []
    for node in (n for n in graph.node if n.op_type == "Conv"):
        weight = _constant(node.input[1], values, made_by)
        bias = _constant(node.input[2], values, made_by) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
        result.append((weight.astype(np.float32), bias.astype(np.float32)))
    return result


def _constant(name: str, values: dict[str, Any], made_by: dict[str, Any]) -> npt.NDArray[Any]:
    if name in values:
        return np.asarray(values[name])
    node = made_by[name]
    quantised, scale, zero = (np.asarray(values[part]) for part in node.input)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [-1 if i == axis else 1 for i in range(quantised.ndim)] if scale.ndim else [1] * quantised.ndim
    return np.asarray((quantised.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape))


def _copy(path: Path, layer: nn.Conv2d, weight: Tensor) -> None:
    target = layer.weight.data
    if target.shape[1] > weight.shape[1]:
        # The first convolution: pose slices, if any, stay silent while the batch norms are set.
        target.zero_()
        target = target[:, : weight.shape[1]]
    if target.shape != weight.shape:
        raise InputError(f"{path}: a convolution has shape {list(weight.shape)}, expected {list(target.shape)}")
    target.copy_(weight)


@torch.no_grad()
def _set_batch_norms(network: PoseFix, biases: list[Tensor], images: Tensor) -> None:
    norms = [m for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    remaining = dict(zip(norms, biases, strict=True))

    def match(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean + remaining.pop(norm))

    handles = [norm.register_forward_pre_hook(match) for norm in norms]
    pixels = network.normalised(images)
    silent = pixels.new_zeros(len(pixels), network.config.pose_channels, *pixels.shape[2:])
    network.eval()
    network.backbone(torch.cat([pixels, silent], 1))
    for handle in handles:
        handle.remove()


def typical_crops(folder: Path, input_size: tuple[int, int]) -> Tensor:
    """Middles of up to 64 images of a folder, uint8 [B, H, W, 3] BGR: what the batch norms are set from."""
    source = ImageFolder(folder)
    names = source.names[:: -(-len(source.names) // 64)]
    return torch.from_numpy(np.concatenate([_middle(source.read(name).image, input_size) for name in names]))


def _middle(image: npt.NDArray[np.uint8], input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    (height, width), aspect = image.shape[:2], input_size[1] / input_size[0]
    half = np.array([min(width, height * aspect), min(height, width / aspect)]) / 2
    centre = np.array([width, height]) / 2
    return crop_transform(np.concatenate([centre - half, centre + half])[None], input_size, 1.0).crop(image)


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, write a start file for ``python -m trainer --weights``, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer.import_imagenet", description=__doc__)
    parser.add_argument("file", type=Path, help="torchvision ResNet (.pth, .safetensors) or MobileNetV2 (.onnx)")
    add_weights_output(parser)
    parser.add_argument("--backbone", choices=BACKBONES, required=True, help="what the file holds")
    parser.add_argument(
        "--input-size", type=_size, default=NetworkConfig.input_size, help="height x width of the crops"
    )
    parser.add_argument("--keypoints", choices=KEYPOINT_SETS, default=NetworkConfig.keypoints, help="joints to train")
    parser.add_argument("--images", type=Path, help="folder of crops of people; MobileNetV2's batch norms need it")
    return run(lambda parsed: write_weights(parsed, _converted), parser.parse_args(arguments))


def _converted(parsed: argparse.Namespace) -> tuple[PoseFix, dict[str, Any]]:
    # The head and the pose slices are random: the same command gives the same weights.
    torch.manual_seed(0)
    network = PoseFix(NetworkConfig(parsed.backbone, parsed.keypoints, parsed.input_size))
    if parsed.backbone != "mobilenet_v2":
        import_resnet(parsed.file, network)
    elif parsed.images:
        import_mobilenet(parsed.file, network, typical_crops(parsed.images, parsed.input_size))
    else:
        raise UsageError("give --images FOLDER: MobileNetV2's ONNX file has no batch statistics of its own")
    info = {"imported_from": parsed.file.name, "sha256": hashlib.sha256(parsed.file.read_bytes()).hexdigest()}
    return network, info | {"trained_on": ["ImageNet (backbone only)"]}


def _size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())

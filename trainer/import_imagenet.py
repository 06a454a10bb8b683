"""Start a MobileNetV2 backbone from an ImageNet classifier stored as ONNX (batch norm folded, weights maybe int8)."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from posefix_track.errors import InputError
from posefix_track.network import PoseFix

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
    nn.init.normal_(convolutions[0].weight.data[:, 3:], std=_POSE_STD)


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
        # The first convolution: pose slices stay silent while the batch norms are set.
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
    silent = pixels.new_zeros(len(pixels), len(network.config.keypoint_set), *pixels.shape[2:])
    network.eval()
    network.backbone(torch.cat([pixels, silent], 1))
    for handle in handles:
        handle.remove()

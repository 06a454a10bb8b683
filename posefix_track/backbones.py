"""Backbones that turn image + pose channels into features at strides 4, 8, 16 and 32.

Parameter names are torchvision's, so that its ImageNet files load; the layers are written here because torchvision has
no build for machines without CUDA that matches every torch.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from posefix_track.errors import InputError


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, channels_in: int, planes: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, planes, 3, stride, 1, bias=False)
        self.bn1 = norm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, planes, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)) + self.downsample(x))
        return cast(Tensor, out)


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels_in: int, planes: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, planes, 1, bias=False)
        self.bn1 = norm(planes)
        # The stride is on the 3x3 convolution, as in torchvision and in the original PoseFix.
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = norm(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = norm(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, planes * 4, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.relu(self.bn3(self.conv3(out)) + self.downsample(x))
        return cast(Tensor, out)


def _shortcut(channels_in: int, channels_out: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), norm(channels_out))


class ResNet(nn.Module):
    """ResNet v1 without its classifier. ``channels``: features at strides 4, 8, 16, 32."""

    def __init__(
        self,
        block: type[_Basic] | type[_Bottleneck],
        blocks: tuple[int, ...],
        channels_in: int,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, 64, 7, 2, 3, bias=False)
        self.bn1 = norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width = 64
        for i, (planes, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True)):
            units = [block(width, planes, 1 if i == 0 else 2, norm)]
            width = planes * block.expansion
            units += [block(width, planes, 1, norm) for _ in range(count - 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*units))
        self.channels = tuple(planes * block.expansion for planes in (64, 128, 256, 512))

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> four feature maps of strides 4, 8, 16, 32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        features = []
        for i in range(4):
            x = cast(nn.Sequential, getattr(self, f"layer{i + 1}"))(x)
            features.append(x)
        return features


class _StridedDepthwise(nn.Conv2d):
    """Stays in FP32 under CPU autocast: its BF16 gradient is three to ten times slower than the FP32 one."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def _conv_norm_act(
    channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, norm: Callable[[int], nn.Module]
) -> nn.Sequential:
    kind = _StridedDepthwise if groups > 1 and stride > 1 else nn.Conv2d
    conv = kind(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, norm(channels_out), nn.ReLU6(inplace=True))


class _InvertedResidual(nn.Module):
    def __init__(
        self, channels_in: int, channels_out: int, stride: int, expand: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        hidden = channels_in * expand
        layers: list[nn.Module] = [] if expand == 1 else [_conv_norm_act(channels_in, hidden, 1, 1, 1, norm)]
        layers.append(_conv_norm_act(hidden, hidden, 3, stride, hidden, norm))
        layers += [nn.Conv2d(hidden, channels_out, 1, bias=False), norm(channels_out)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018) up to its last inverted residual."""

    # (expansion, channels, repeats, stride) of each stage; table 2 of the paper.
    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    TAPS = (3, 6, 13, 17)

    def __init__(self, channels_in: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_norm_act(channels_in, 32, 3, 2, 1, norm)]
        width = 32
        for expand, channels, repeats, stride in self.STAGES:
            for i in range(repeats):
                layers.append(_InvertedResidual(width, channels, stride if i == 0 else 1, expand, norm))
                width = channels
        self.features = nn.Sequential(*layers)
        self.channels = (24, 32, 96, 320)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> four feature maps of strides 4, 8, 16, 32."""
        taps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.TAPS:
                taps.append(x)
        return taps


_RESNETS: dict[str, tuple[type[_Basic] | type[_Bottleneck], tuple[int, ...]]] = {
    "resnet18": (_Basic, (2, 2, 2, 2)),
    "resnet34": (_Basic, (3, 4, 6, 3)),
    "resnet50": (_Bottleneck, (3, 4, 6, 3)),
    "resnet101": (_Bottleneck, (3, 4, 23, 3)),
    "resnet152": (_Bottleneck, (3, 8, 36, 3)),
}
BACKBONES = (*_RESNETS, "mobilenet_v2")


def backbone(name: str, channels_in: int, batch_norm_eps: float) -> ResNet | MobileNetV2:
    """An untrained backbone for ``channels_in`` input channels. Raises InputError for names not in BACKBONES."""

    def norm(channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, eps=batch_norm_eps)

    if name == "mobilenet_v2":
        return MobileNetV2(channels_in, norm)
    if name not in _RESNETS:
        raise InputError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}")
    block, blocks = _RESNETS[name]
    return ResNet(block, blocks, channels_in, norm)


def he_initialise(module: nn.Module) -> None:
    """He-normal convolutions and unit batch norm, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            torch.nn.init.ones_(layer.weight)
            torch.nn.init.zeros_(layer.bias)

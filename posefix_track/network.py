"""The PoseFix network (Moon, Chang, Lee, CVPR 2019), complete: uint8 crops and input poses in, refined poses out.

Normalisation, heatmap rendering, backbone, soft-argmax and confidence are all inside ``forward``, so that every engine
runs this one graph. B people, K joints, (H, W) crop pixels, (h, w) = (H/4, W/4) heatmap cells; cell i lies on pixel 4i.
"""

import math
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posefix_track.backbones import backbone, he_initialise
from posefix_track.confidence import Confidence
from posefix_track.decoding import OFFSET_UNIT, OUTPUTS, channels, decode
from posefix_track.errors import InputError
from posefix_track.keypoints import KeypointSet, keypoint_set
from posefix_track.pose_maps import INPUT_POSES, pose_maps

STRIDE = 4
_AREA_ROOT = 0.45


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides what a weights file means; it travels in the file's metadata.

    The defaults are this project's. ``original_config`` is the published PoseFix.

    Attributes:
        backbone: a name of backbones.BACKBONES.
        keypoints: name of the keypoint set (keypoints.KEYPOINT_SETS).
        input_size: (height, width) of the crop in pixels, multiples of 32.
        padding: crop side / tight pose box side.
        antialias: average pixels when shrinking by more than two (the original does not).
        centred_crops: crops lie about the middle of their pixels (the original's half a crop pixel beside it).
        channel_order: "rgb" or "bgr": order in which the network wants the channels of its BGR input.
        mean, std: per channel, in that order; x = (pixel - mean) / std.
        sigma: of the input pose's Gaussian heatmaps, crop pixels; the radius where the pose is drawn as disks.
        heatmap_peak: value at a joint's centre.
        head_channels: of the three transposed convolutions.
        skips: whether each of them also sees the backbone's features and the input pose at its stride.
        confidence: whether the head for expected keypoint similarity exists.
        batch_norm_eps: of all batch norms.
        input_pose: how the input pose is drawn, one of pose_maps.INPUT_POSES; "none" shows the image alone.
        output: how joints are read from the head's maps, one of decoding.OUTPUTS.
    """

    backbone: str = "mobilenet_v2"
    keypoints: str = "union19"
    input_size: tuple[int, int] = (192, 160)
    padding: float = 1.4
    antialias: bool = True
    centred_crops: bool = True
    channel_order: str = "rgb"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    sigma: float = 6.0
    heatmap_peak: float = 2.0
    head_channels: tuple[int, int, int] = (192, 128, 96)
    skips: bool = True
    confidence: bool = True
    batch_norm_eps: float = 1e-5
    input_pose: str = "gaussian"
    output: str = "soft_argmax"

    def __post_init__(self) -> None:
        if len(self.input_size) != 2 or any(side < 32 or side % 32 for side in self.input_size):
            raise InputError(f"input_size must be two multiples of 32, got {list(self.input_size)}")
        for name, known in (("channel_order", ("rgb", "bgr")), ("input_pose", INPUT_POSES), ("output", OUTPUTS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def keypoint_set(self) -> KeypointSet:
        """The joints that the network knows."""
        return keypoint_set(self.keypoints)

    @property
    def pose_channels(self) -> int:
        """Maps of the input pose beside the image."""
        return 0 if self.input_pose == "none" else len(self.keypoint_set)

    @property
    def offset_unit(self) -> float:
        """Cells per unit of a predicted offset."""
        return OFFSET_UNIT * self.sigma / STRIDE

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "NetworkConfig":
        """The reverse of ``to_dict``. Raises InputError that names an unknown field."""
        known = {field.name for field in fields(cls)}
        if unknown := set(values) - known:
            raise InputError(f"unknown network setting {sorted(unknown)}; known: {sorted(known)}")
        arguments: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**arguments)


def original_config(backbone: str = "resnet50", input_size: tuple[int, int] = (256, 192)) -> NetworkConfig:
    """The released TensorFlow code's network: BGR minus RGB means, heatmaps x255, sigma 7 or 9, fused-BN epsilon."""
    return NetworkConfig(
        backbone=backbone,
        keypoints="coco17",
        input_size=input_size,
        padding=1.5,
        antialias=False,
        centred_crops=False,
        channel_order="bgr",
        mean=(123.68, 116.78, 103.94),
        std=(1.0, 1.0, 1.0),
        sigma=7.0 if input_size[0] <= 256 else 9.0,
        heatmap_peak=255.0,
        head_channels=(256, 256, 256),
        skips=False,
        confidence=False,
        batch_norm_eps=1.001e-5,
    )


class PoseFix(nn.Module):
    """Image crop + input pose -> refined pose and the keypoint similarity to expect of either."""

    mean: Tensor
    std: Tensor
    spread: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        joints = len(config.keypoint_set)
        self.backbone = backbone(config.backbone, 3 + config.pose_channels, config.batch_norm_eps)
        self.head = Head(self.backbone.channels, channels(config.output, joints), config)
        he_initialise(self.backbone)
        # Constants, not weights: they follow from the config.
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        spread = similarity_spread(config)
        self.register_buffer("spread", spread, persistent=False)
        channels_in = self.backbone.channels[-1], config.head_channels[-1]
        self.confidence = Confidence(*channels_in, spread) if config.confidence else None

    def forward(self, images: Tensor, keypoints: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Refine B people.

        Args:
            images: uint8 [B, H, W, 3], BGR crops.
            keypoints: float32 [B, K, 2], input pose in crop pixels; anything where not present.
            present: bool or float [B, K], 1 where the input has the joint.

        Returns:
            keypoints float32 [B, K, 2] in crop pixels, and expected_ks float32 [B, K, 2] in [0, 1]: the keypoint
            similarity to the truth expected of the refined and of the input joint (NaN without a confidence head).
        """
        outputs, features, deepest, keypoints = self.features(images, keypoints, present)
        cells, heatmaps = decode(self.config.output, outputs, self.config.offset_unit, self.spread)
        refined = cells * STRIDE
        if self.confidence is None:
            return refined, torch.full_like(refined, torch.nan)
        ks_logits = self.confidence(features, deepest, heatmaps, cells, keypoints / STRIDE, present.float())
        return refined, torch.sigmoid(ks_logits.float())

    def features(self, images: Tensor, keypoints: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The head's maps, stride-4 features, deepest features, and the keypoints with absent joints at 0."""
        keypoints = torch.where(present[..., None] > 0, keypoints, torch.zeros_like(keypoints))
        # An engine may have made the convolutions half precision; profiles and softmax stay in float32.
        kind = self.head.final.weight.dtype
        peaks = present.float() * self.config.heatmap_peak
        poses = pose_maps(self.config.input_pose, keypoints, peaks, self.config.input_size, self.config.sigma, kind)
        stages = self.backbone(torch.cat([self.normalised(images).to(kind), *poses[:1]], 1))
        features = self.head(stages, poses[1:])
        return self.head.final(features), features, stages[-1], keypoints

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 BGR [B, H, W, 3] -> float32 [B, 3, H, W] as the backbone wants it."""
        pixels = images.permute(0, 3, 1, 2).float()
        if self.config.channel_order == "rgb":
            pixels = pixels.flip(1)
        return (pixels - self.mean) / self.std


def similarity_spread(config: NetworkConfig) -> Tensor:
    """float32 [K], cells: the standard deviation 2 sigma_k sqrt(area) of COCO's keypoint similarity.

    The crop follows the person, so its height stands for the person's size: sqrt(area) is 0.46 to 0.51 of it in the
    median over people of COCO and LSPET.
    """
    sigmas = torch.tensor(config.keypoint_set.sigmas, dtype=torch.float32)
    return (2 * sigmas * _AREA_ROOT * config.input_size[0] / STRIDE).clamp(min=0.5)


class Head(nn.Module):
    """Three 4x4/2 transposed convolutions and a 1x1 convolution to the maps that joints are read from."""

    def __init__(self, channels: tuple[int, ...], maps: int, config: NetworkConfig) -> None:
        super().__init__()
        widths = (channels[-1], *config.head_channels)
        pairs = list(pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in pairs)
        self.norm = nn.ModuleList(nn.BatchNorm2d(b, eps=config.batch_norm_eps) for _, b in pairs)
        self.skip = nn.ModuleList()
        if config.skips:
            skipped = list(zip(channels[2::-1], widths[1:], strict=True))
            self.skip = nn.ModuleList(nn.Conv2d(c + config.pose_channels, b, 1) for c, b in skipped)
        self.final = nn.Conv2d(widths[-1], maps, 1)
        self._initialise()
        if config.output in ("argmax", "offsets"):
            self._start_silent(config)

    def _initialise(self) -> None:
        # The original: truncated normals, 0.01 for the transposed convolutions, He for the last layer.
        for up in self.up:
            nn.init.trunc_normal_(cast(Tensor, up.weight), std=0.01)
        nn.init.trunc_normal_(self.final.weight, std=(2.6 / self.final.in_channels) ** 0.5)
        nn.init.zeros_(self.final.bias)  # type: ignore[arg-type]

    def _start_silent(self, config: NetworkConfig) -> None:
        """Maps that are nearly empty must not have to become so first: that takes thousands of steps."""
        nn.init.normal_(self.final.weight, std=0.001)
        if config.output == "offsets":
            height, width = config.input_size
            share = min(math.pi * config.sigma**2 / (height * width), 0.5)
            bias = cast(Tensor, self.final.bias).data
            bias[: len(config.keypoint_set)] = math.log(share / (1 - share))

    def forward(self, stages: list[Tensor], poses: list[Tensor]) -> Tensor:
        """Features at stride 4 from the four backbone stages and the input pose's maps at strides 16, 8, 4."""
        x = stages[-1]
        for i, (up, norm) in enumerate(zip(self.up, self.norm, strict=True)):
            x = norm(up(x))
            if len(self.skip):
                x = x + self.skip[i](torch.cat([stages[2 - i], *poses[i : i + 1]], 1))
            x = F.relu(x)
        return x

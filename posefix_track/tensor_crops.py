"""Crops of images that lie on a device: what ``CropTransform.crop`` makes with cv2, within one grey level.

All people of an image are sampled at once; nothing waits for the device.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from posefix_track.crops import Averaged, CropTransform
from posefix_track.errors import InputError


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy of an array of numbers on ``device``, queued on the current stream.

    The page-locked memory that it passes through is torch's, which gives it out again when the copy has happened.
    """
    kind = torch.from_numpy(np.empty(0, array.dtype)).dtype
    staging = torch.empty(array.shape, dtype=kind, pin_memory=device.type == "cuda")
    staging.numpy()[...] = array
    return staging.to(device, non_blocking=True)


def crop_tensor(transform: CropTransform, image: Tensor, antialias: bool = True) -> Tensor:
    """``transform.crop`` on the device of ``image``, for maps that do not rotate.

    Args:
        transform: of N people.
        image: uint8 [H, W, 3].
        antialias: see ``CropTransform.crop``.

    Returns:
        uint8 [N, height, width, 3] on the image's device.

    Raises:
        InputError: a rotating map, or an image of another kind.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"an image must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    if np.any(transform.image_to_crop[:, [0, 1], [1, 0]]):
        raise InputError("crops on a device must not be rotated; take CropTransform.crop")
    averaged = transform.averaged(tuple(image.shape), antialias)
    kinds = np.stack([averaged.factor, averaged.twice], 1)
    different = np.unique(kinds, axis=0)
    people = [np.flatnonzero((kinds == kind).all(1)) for kind in different]
    crops = [
        _sampled(_means(image, *kind), averaged, rows, transform.input_size)
        for kind, rows in zip(different.tolist(), people, strict=True)
    ]
    if len(crops) == 1:
        return crops[0]
    back = np.argsort(np.concatenate([*people, np.empty(0, np.int64)]))
    return torch.cat([image.new_empty((0, *transform.input_size, 3)), *crops])[to_device(back, image.device)]


def _means(image: Tensor, factor: int, twice: int) -> Tensor:
    """Mean of the factor x factor pixels from each pixel on, ``factor`` pixels before the image first.

    With ``twice`` the mean of that and its right neighbour. The image is black around.

    Returns:
        uint8 [H + factor + 1, W + factor + 1, 3], a column less with ``twice``; the image itself with factor 1.
    """
    if factor == 1:
        return image
    framed = F.pad(image.permute(2, 0, 1)[None].float(), (factor,) * 4)
    means = F.avg_pool2d(framed, factor, stride=1)
    # Two by two, cv2 rounds halves up; else to even.
    means = (means + 0.5).floor_() if factor == 2 else means.round_()
    if twice:
        means = ((means[..., :-1] + means[..., 1:]) / 2).round_()
    return means[0].permute(1, 2, 0).to(torch.uint8).contiguous()


def _sampled(means: Tensor, averaged: Averaged, people: npt.NDArray[np.int64], input_size: tuple[int, int]) -> Tensor:
    """Bilinear samples of some people's pictures, whose pixels are ``factor`` apart in ``means``."""
    rows, columns = input_size
    position, weight = _taps(averaged, people, max(input_size), means.device)
    x, y = position[:, :, 0, None, :columns], position[:, :, 1, :rows, None]
    across, down = weight[:, :, 0, None, :columns, None], weight[:, :, 1, :rows, None, None]
    crops = torch.zeros((), device=means.device)
    for i in (0, 1):
        line = means[y[i], x[0]] * across[0]
        line.addcmul_(means[y[i], x[1]], across[1])
        crops = crops + line.mul_(down[i])
    return crops.round_().to(torch.uint8)


def _taps(
    averaged: Averaged, people: npt.NDArray[np.int64], length: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which two pixels of ``means`` make up each crop pixel, and how much of each, along either axis.

    Returns:
        index int64 and weight float32 (0 outside the picture), [2 neighbours, n, 2 axes, length].
    """
    scale = averaged.to_crop[people][:, [0, 1], [0, 1]]
    start = averaged.low[people] + np.where(averaged.factor > 1, averaged.factor, 0)[people, None]
    columns = [scale, averaged.to_crop[people, :, 2], start, averaged.extent[people]]
    columns.append(np.repeat(averaged.factor[people][:, None], 2, 1))
    scale, offset, low, extent, factor = to_device(np.stack(columns)[..., None], device)
    pixel = torch.arange(length, dtype=torch.float64, device=device)
    source = (pixel - offset) / scale
    first = source.floor()
    near = torch.stack([first, first + 1])
    inside = (near >= 0) & (near < extent)
    weight = torch.where(inside, 1 - (source - near).abs(), 0.0).float()
    index = low + factor * torch.minimum(near.clamp_(min=0), extent - 1)
    return index.long(), weight

"""What a training step minimises: one forward pass of a batch -> its losses by name.

A network whose joints are the mean of softmax heatmaps has PoseFix's losses, "heatmap" (L_H) and "coordinate" (L_C).
One that draws Gaussians has their squared error as "heatmap"; one with score maps and offsets has the scores'
cross-entropy as "heatmap" and the offsets' Huber loss as "coordinate".
"""

import numpy as np
import torch
from torch import Tensor

from posefix_track.decoding import decode, read, scores_and_offsets
from posefix_track.heatmaps import log_softmax_heatmaps
from posefix_track.network import STRIDE, PoseFix
from posefix_track.tensor_crops import to_device
from trainer.losses import (
    confidence_loss,
    coordinate_loss,
    gaussian_loss,
    heatmap_loss,
    keypoint_similarity,
    offset_loss,
    score_loss,
    similarity_loss,
)
from trainer.recipe import TrainConfig
from trainer.samples import Batch

# Keypoint similarity exp(-2.45^2 / 2) = 0.05.
_SAME_PEAK = 2.45

Losses = dict[str, Tensor]


def training_step(network: PoseFix, batch: Batch, config: TrainConfig) -> Losses:
    """Forward one batch -> its losses by name, as they are added up."""
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=config.bfloat16):
        outputs, features, deepest, keypoints = network.features(batch.images, batch.keypoints, batch.present)
    valid = batch.labelled & _inside(batch.targets, network.config.input_size)
    positions, cells, heatmaps = position_losses(outputs, batch.targets, valid, network)
    # A plain copy would wait until the GPU has done all of the above.
    sigmas = to_device(network.config.keypoint_set.sigmas.astype(np.float32), outputs.device)
    similarity = keypoint_similarity(cells * STRIDE, batch.targets, batch.area, sigmas)
    positions["similarity"] = similarity_loss(similarity, valid)
    weights = {name: getattr(config, f"{name}_weight") for name in positions}
    losses = {name: weights[name] * loss for name, loss in positions.items() if weights[name]}
    if network.confidence is not None:
        present = batch.present.float()
        ks_logits = network.confidence(features, deepest, heatmaps, cells, keypoints / STRIDE, present)
        of_input = keypoint_similarity(batch.keypoints, batch.targets, batch.area, sigmas)
        known = torch.stack([batch.labelled, batch.labelled & batch.present], 2)
        losses["confidence"] = confidence_loss(ks_logits, torch.stack([similarity.detach(), of_input], 2), known)
    return losses


def position_losses(outputs: Tensor, targets: Tensor, valid: Tensor, network: PoseFix) -> tuple[Losses, Tensor, Tensor]:
    """Unweighted losses of the head's maps, and the joints [B, K, 2] in cells and heatmaps that they stand for."""
    config, radius = network.config, network.config.sigma / STRIDE
    if config.output in ("soft_argmax", "similarity_argmax"):
        # One softmax for the logarithm, the probabilities and the coordinates.
        log_heatmaps = log_softmax_heatmaps(outputs)
        heatmaps = log_heatmaps.exp()
        cells = read(config.output, heatmaps, network.spread)
        near = valid if config.output == "soft_argmax" else valid & _near(cells, targets, network.spread)
        heatmap, coordinate = heatmap_loss(log_heatmaps, targets, valid), coordinate_loss(cells, targets, near)
        return {"heatmap": heatmap, "coordinate": coordinate}, cells, heatmaps
    cells, heatmaps = decode(config.output, outputs, config.offset_unit, network.spread)
    if config.output == "argmax":
        return {"heatmap": gaussian_loss(outputs, targets, valid, radius)}, cells, heatmaps
    scores, offsets = scores_and_offsets(outputs)
    score = score_loss(scores, targets, valid, radius)
    offset = offset_loss(offsets, targets, valid, radius, config.offset_unit)
    return {"heatmap": score, "coordinate": offset}, cells, heatmaps


def _near(cells: Tensor, targets: Tensor, spread: Tensor) -> Tensor:
    """bool [B, K]: joints read from the right peak. Of a wrong peak the coordinate says nothing that L_H does not."""
    distance: Tensor = (cells.detach() - targets / STRIDE).norm(dim=2) / spread
    return distance < _SAME_PEAK


def _inside(points: Tensor, input_size: tuple[int, int]) -> Tensor:
    """bool [B, K]: crop pixels that lie in the crop."""
    height, width = input_size
    return (points >= 0).all(2) & (points[..., 0] < width) & (points[..., 1] < height)

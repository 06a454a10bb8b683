"""What a training step minimises: one forward pass of a batch -> its losses by name."""

import torch
from torch import Tensor

from posefix_track.heatmaps import log_softmax_heatmaps, soft_argmax
from posefix_track.network import STRIDE, PoseFix
from trainer.losses import confidence_loss, coordinate_loss, heatmap_loss, keypoint_similarity, similarity_loss
from trainer.recipe import TrainConfig
from trainer.samples import Batch


def training_step(network: PoseFix, batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
    """Forward one batch -> its losses by name, as they are added up."""
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=config.bfloat16):
        logits, features, deepest, keypoints = network.features(batch.images, batch.keypoints, batch.present)
    height, width = network.config.input_size
    inside = (batch.targets >= 0).all(2) & (batch.targets[..., 0] < width) & (batch.targets[..., 1] < height)
    valid = batch.labelled & inside
    log_heatmaps = log_softmax_heatmaps(logits)
    heatmaps = log_heatmaps.exp()
    cells = soft_argmax(heatmaps)
    refined = cells * STRIDE
    sigmas = torch.tensor(network.config.keypoint_set.sigmas, dtype=torch.float32, device=batch.images.device)
    similarity = keypoint_similarity(refined, batch.targets, batch.area, sigmas)
    losses = {
        "heatmap": heatmap_loss(log_heatmaps, batch.targets, valid),
        "coordinate": coordinate_loss(cells, batch.targets, valid),
    }
    if config.similarity_weight:
        losses["similarity"] = config.similarity_weight * similarity_loss(similarity, valid)
    if network.confidence is not None:
        present = batch.present.float()
        ks_logits = network.confidence(features, deepest, heatmaps, refined, keypoints, present)
        of_input = keypoint_similarity(batch.keypoints, batch.targets, batch.area, sigmas)
        known = torch.stack([batch.labelled, batch.labelled & batch.present], 2)
        losses["confidence"] = confidence_loss(ks_logits, torch.stack([similarity.detach(), of_input], 2), known)
    return losses

"""A picture to judge a run by: input poses, targets and outputs side by side, with the heatmaps of the outputs."""

import cv2
import numpy as np
import torch

from posefix_track.decoding import decode
from posefix_track.keypoints import KeypointSet
from posefix_track.network import STRIDE, PoseFix
from posefix_track.render import draw_poses
from trainer.images import Image
from trainer.samples import Batch

_CAPTIONS = ("input", "target", "output", "heatmaps")
_BAND = 18


@torch.no_grad()
def picture_grid(network: PoseFix, batch: Batch, people: int = 8) -> Image:
    """Rows of people, four columns: input pose, truth, refined pose, and where the network looked, BGR [H, W, 3].

    Args:
        network: in whatever mode; it is left in it.
        batch: on the network's device.
        people: rows at most.
    """
    batch = Batch(*(column[:people] for column in vars(batch).values()))
    training = network.training
    network.eval()
    maps, *_ = network.features(batch.images, batch.keypoints, batch.present)
    network.train(training)
    joints = network.config.keypoint_set
    cells, heatmaps = decode(network.config.output, maps, network.config.offset_unit, network.spread)
    rows = []
    for i, crop in enumerate(batch.images.cpu().numpy()):
        shown = _drawn(crop, batch.keypoints[i], batch.present[i], joints)
        truth = _drawn(crop, batch.targets[i], batch.labelled[i], joints)
        everything = torch.ones_like(batch.present[i])
        refined = _drawn(crop, cells[i] * STRIDE, everything, joints)
        rows.append(np.hstack([shown, truth, refined, _overlaid(crop, heatmaps[i])]))
    return np.vstack([_caption_band(rows[0].shape[1]), *rows])


def _drawn(crop: Image, keypoints: torch.Tensor, present: torch.Tensor, joints: KeypointSet) -> Image:
    points, found = keypoints.cpu().numpy()[None], present.cpu().numpy()[None]
    return draw_poses(crop, points, found, joints)


def _overlaid(crop: Image, heatmaps: torch.Tensor) -> Image:
    """The crop, darkened but for where the heatmaps [K, h, w] have their mass."""
    peaks = heatmaps.amax((1, 2), keepdim=True).clamp(min=1e-9)
    heat = (heatmaps / peaks).amax(0).cpu().numpy()
    heat = cv2.resize(heat, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    coloured = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(np.clip(0.45 * crop + 0.75 * coloured, 0, 255), np.uint8)


def _caption_band(width: int) -> Image:
    band = np.full((_BAND, width, 3), 32, np.uint8)
    for i, caption in enumerate(_CAPTIONS):
        place = (i * width // len(_CAPTIONS) + 4, _BAND - 5)
        cv2.putText(band, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (250, 250, 250), 1, cv2.LINE_AA)
    return band

"""A PoseFix network without training whose heatmaps have peaks."""

import torch

from posefix_track.network import NetworkConfig, PoseFix

SIZE, JOINTS = (32, 64), 19
CONFIG = NetworkConfig("resnet18", input_size=SIZE, head_channels=(32, 32, 32))


def decided_network(config: NetworkConfig = CONFIG) -> PoseFix:
    torch.manual_seed(0)
    network = PoseFix(config)
    # Logits of a trained network's size: flat heatmaps would agree whatever an engine does.
    network.head.final.weight.data *= 20
    return network.eval()

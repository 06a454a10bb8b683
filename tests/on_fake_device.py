"""Runs crops, networks and a training step on a device that exists in name only: `python -m tests.on_fake_device`.

Nothing is computed, but tensors of different devices do not meet unnoticed, and nothing can be read: whatever gets
through does not wait for a GPU either.
"""

from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from engines.folding import folded, half_convolutions
from posefix_track.crops import crop_transform
from posefix_track.decoding import OUTPUTS
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.pose_maps import INPUT_POSES
from posefix_track.tensor_crops import crop_tensor
from trainer.objective import training_step
from trainer.recipe import TrainConfig
from trainer.samples import Batch

DEVICE = "gpu"
SMALL = {"input_size": (64, 64), "head_channels": (8, 8, 8)}
# Every way to read joints, and to draw the input pose.
KINDS = [
    NetworkConfig("resnet18", input_pose=pose, output=output, **SMALL)
    for pose, output in zip(INPUT_POSES, OUTPUTS, strict=True)
]

Columns = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(config: NetworkConfig, device: str) -> Columns:
    people, joints = (2, len(config.keypoint_set))
    images = torch.zeros(people, *config.input_size, 3, dtype=torch.uint8, device=device)
    return images, torch.zeros(people, joints, 2, device=device), torch.ones(people, joints, device=device) > 0


def moved(network: nn.Module, fake: FakeTensorMode) -> nn.Module:
    """The same network with its parameters and buffers on the device."""
    for module in network.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            value = tensor.detach()
            with fake:
                there = fake.from_tensor(value).to(DEVICE)
            is_parameter = isinstance(tensor, nn.Parameter)
            delattr(module, name)
            if is_parameter:
                module.register_parameter(name, nn.Parameter(there, tensor.requires_grad))
            else:
                module.register_buffer(name, there)
    return network


def check_crops(fake: FakeTensorMode) -> None:
    """Of people who are averaged, and of people who are not, together and apart."""
    boxes = np.array([[0.0, 0, 30, 60], [5, 5, 400, 600], [1, 1, 900, 1200]])
    for rows in ([0], [2], [0, 1, 2]):
        with fake, torch.inference_mode(), patch("posefix_track.tensor_crops.to_device", copied):
            image = torch.zeros(720, 1280, 3, dtype=torch.uint8, device=DEVICE)
            crops = crop_tensor(crop_transform(boxes[rows], (64, 48), 1.4), image)
        assert crops.device.type == DEVICE and crops.dtype == torch.uint8 and len(crops) == len(rows)


def copied(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """In place of ``to_device``, whose copy goes by way of numpy."""
    return torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, device=device)


def check_pass(config: NetworkConfig, half: bool, fake: FakeTensorMode) -> None:
    ready = folded(PoseFix(config).eval(), inputs(config, "cpu"))
    network = moved(half_convolutions(ready) if half else ready, fake)
    with fake, torch.inference_mode():
        for result in network(*inputs(config, DEVICE)):
            assert result.device.type == DEVICE and result.dtype == torch.float32


def check_step(config: NetworkConfig, fake: FakeTensorMode) -> None:
    network = moved(PoseFix(config).train(), fake)
    with fake, patch("trainer.objective.to_device", copied):
        images, poses, present = inputs(config, DEVICE)
        batch = Batch(images, poses, present, poses.clone(), present, torch.ones(len(poses), device=DEVICE))
        losses = training_step(network, batch, TrainConfig(steps=1, similarity_weight=1.0, bfloat16=False))
        torch.stack([*losses.values()]).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def main() -> None:
    _setup_privateuseone_for_python_backend(DEVICE)
    # What autocast asks for, although it is off.
    torch.get_device_module(DEVICE).get_amp_supported_dtype = lambda: [torch.bfloat16]
    fake = FakeTensorMode()
    check_crops(fake)
    for config in (NetworkConfig(**SMALL), *KINDS):
        check_pass(config, False, fake)
        check_pass(config, True, fake)
        check_step(config, fake)


if __name__ == "__main__":
    main()

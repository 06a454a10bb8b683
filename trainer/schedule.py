"""Optimisers, learning rates and the average of the weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from trainer.recipe import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Of step number ``step``: linear warm-up, then half a cosine to zero, or drops. The length must be in steps."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "drops":
        return config.learning_rate * config.drop_factor ** sum(step >= drop for drop in config.drops)
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or Adam with coupled L2 regularisation; no decay of biases and batch norms."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    fused = next(network.parameters()).is_cuda
    return kind(groups, lr=config.learning_rate, fused=fused or None)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of all floating-point tensors, in place; the others are copied."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    kept, new = ([pair[side] for pair in floats] for side in (0, 1))
    torch._foreach_lerp_(kept, new, 1 - decay)
    for counter, newer in pairs:
        if not counter.is_floating_point():
            counter.copy_(newer)


def average_decay(step: int, config: TrainConfig) -> float:
    """Smaller in the first steps, whose weights are not worth remembering."""
    return min(config.ema_decay, (step + 1) / (step + 10)) if config.ema_decay else 0.0


def clip_gradients(network: nn.Module, longest: float) -> Tensor | None:
    """Shorten the gradient to ``longest``, where that is not 0; its length before, or None."""
    return nn.utils.clip_grad_norm_(network.parameters(), longest) if longest else None

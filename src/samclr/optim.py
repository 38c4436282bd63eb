"""Optimiser and learning rate, the latter a pure function of the step."""

import math
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import nn

from samclr.config import OptimConfig


def create_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD, AdamW or LARS over all parameters, by timm."""
    options: dict[str, Any] = {"momentum": config.sgd_momentum} if config.optimizer != "adamw" else {}
    return create_optimizer_v2(
        module,
        # timm's "sgd" is Nesterov's; the papers use plain momentum
        opt="momentum" if config.optimizer == "sgd" else config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        filter_bias_and_bn=not config.decay_norm_and_bias,
        **options,
    )


def learning_rate(step: int, num_steps: int, config: OptimConfig) -> float:
    """Linear warm-up, then cosine to zero or constant."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    progress = (step - config.warmup_steps) / max(num_steps - config.warmup_steps, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))

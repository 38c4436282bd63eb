"""Optimiser and learning rate, the latter a pure function of the step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from samclr.config.pretrain import Extension, OptimConfig
from samclr.models.schedules import cosine


def create_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD, AdamW or LARS over all parameters, by timm."""
    from timm.optim import create_optimizer_v2  # here, as it takes a while to import

    options: dict[str, Any] = {"momentum": config.sgd_momentum} if config.optimizer != "adamw" else {}
    trained = [p for p in module.parameters() if p.requires_grad] if config.decay_norm_and_bias else module
    optimizer = create_optimizer_v2(
        trained,
        # timm's "sgd" is Nesterov's; the papers use plain momentum
        opt="momentum" if config.optimizer == "sgd" else config.optimizer,
        lr=config.lr,
        weight_decay=1.0,  # for timm to part what decays from what does not; the true values follow
        filter_bias_and_bn=not config.decay_norm_and_bias,
        **options,
    )
    for group in optimizer.param_groups:
        group["decays"] = group["weight_decay"] > 0
        if group["decays"]:
            group["weight_decay"] = config.weight_decay
            if config.optimizer == "lars":
                group["always_adapt"] = True  # timm adapts only where weights decay; without, LARS would be SGD
    return optimizer


def learning_rate(step: int, num_steps: int, config: OptimConfig) -> float:
    """Linear warm-up, then cosine to zero or constant."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    return cosine(config.lr, 0.0, (step - config.warmup_steps) / max(num_steps - config.warmup_steps, 1))


def schedule_step(step: int, extensions: Sequence[Extension]) -> int:
    """The step whose rates a step has: its own, or in a constant extension the first one's."""
    if extensions and extensions[-1].schedule == "constant":
        return min(step, extensions[-1].after_steps)
    return step


def set_rates(optimizer: torch.optim.Optimizer, step: int, num_steps: int, config: OptimConfig) -> None:
    """Give every parameter group the step's learning rate, and its weight decay where that has a schedule."""
    rate = learning_rate(step, num_steps, config)
    for group in optimizer.param_groups:
        group["lr"] = rate
        if config.weight_decay_end is not None and group.get("decays", group["weight_decay"] > 0):
            group["decays"] = True
            group["weight_decay"] = cosine(config.weight_decay, config.weight_decay_end, step / max(num_steps, 1))

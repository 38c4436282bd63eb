"""Optimiser and learning rate, the latter a pure function of the step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from samclr.config.pretrain import Extension, OptimConfig
from samclr.methods.create import backbone_of
from samclr.models.layer_groups import ABOVE, layer_groups
from samclr.models.schedules import cosine


def create_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD, AdamW or LARS over all parameters that are trained, by timm.

    Raises:
        ConfigError: `layer_decay` is asked for, and the backbone has no groups of layers.
    """
    from timm.optim import create_optimizer_v2  # here, as it takes a while to import

    options: dict[str, Any] = {"momentum": config.sgd_momentum} if config.optimizer != "adamw" else {}
    trained: Any = [p for p in module.parameters() if p.requires_grad] if config.decay_norm_and_bias else module
    parted = config.layer_decay is not None or config.head_warmup_steps > 0
    optimizer = create_optimizer_v2(
        parameter_groups(module, config) if parted else trained,
        # timm's "sgd" is Nesterov's; the papers use plain momentum
        opt="momentum" if config.optimizer == "sgd" else config.optimizer,
        lr=config.lr,
        weight_decay=1.0,  # for timm to part what decays from what does not; the true values follow
        filter_bias_and_bn=not config.decay_norm_and_bias and not parted,
        **options,
    )
    for group in optimizer.param_groups:
        group["decays"] = group["weight_decay"] > 0
        if group["decays"]:
            group["weight_decay"] = config.weight_decay
            if config.optimizer == "lars":
                group["always_adapt"] = True  # timm adapts only where weights decay; without, LARS would be SGD
    return optimizer


def parameter_groups(method: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """The trained parameters by their layer's learning rate, by whether they are the backbone's, and decay or not.

    A group has `lr_scale`, what the learning rate is multiplied by, `of_backbone`, and a weight decay of 1 or 0. The
    heads, first, have a scale of 1, the backbone's last layers one of `layer_decay`, as in timm's
    param_groups_layer_decay of a model with a classifier.

    Raises:
        ConfigError: the backbone has no groups of layers, and `layer_decay` is asked for.
    """
    backbone = backbone_of(method)
    names = {parameter: name for name, parameter in backbone.named_parameters()}
    numbers = {} if config.layer_decay is None else layer_groups(backbone, "layer_decay")
    found: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        own = names.get(parameter)
        above = 0 if own is None or config.layer_decay is None else numbers[ABOVE] - numbers[own]
        decays = config.decay_norm_and_bias or not (parameter.ndim <= 1 or name.endswith(".bias"))
        scale = 1.0 if config.layer_decay is None else config.layer_decay**above
        new = {"params": [], "lr_scale": scale, "of_backbone": own is not None, "weight_decay": 1.0 if decays else 0.0}
        group = found.setdefault((above if own is None else above + 1, decays), new)
        group["params"].append(parameter)
    return [found[key] for key in sorted(found)]


def learning_rate(step: int, num_steps: int, config: OptimConfig) -> float:
    """Linear warm-up, then cosine to zero or constant."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    return cosine(config.lr, 0.0, (step - config.warmup_steps) / max(num_steps - config.warmup_steps, 1))


def backbone_rate(step: int, num_steps: int, config: OptimConfig) -> float:
    """That of the heads; while they warm up alone zero, then rising from there over a warm-up of its own."""
    waited = step - config.head_warmup_steps
    rate = learning_rate(step, num_steps, config)
    if waited < 0:
        return 0.0
    return min(rate, config.lr * (waited + 1) / config.warmup_steps) if waited < config.warmup_steps else rate


def schedule_step(step: int, extensions: Sequence[Extension]) -> int:
    """The step whose rates a step has: its own, or in a constant extension the first one's."""
    if extensions and extensions[-1].schedule == "constant":
        return min(step, extensions[-1].after_steps)
    return step


def set_rates(optimizer: torch.optim.Optimizer, step: int, num_steps: int, config: OptimConfig) -> float:
    """Give every parameter group the step's learning rate, and its weight decay where that has a schedule.

    Returns the learning rate of the heads.
    """
    rate = learning_rate(step, num_steps, config)
    waiting = backbone_rate(step, num_steps, config)
    for group in optimizer.param_groups:
        group["lr"] = (waiting if group.get("of_backbone") else rate) * group.get("lr_scale", 1.0)
        if config.weight_decay_end is not None and group.get("decays", group["weight_decay"] > 0):
            group["decays"] = True
            group["weight_decay"] = cosine(config.weight_decay, config.weight_decay_end, step / max(num_steps, 1))
    return rate

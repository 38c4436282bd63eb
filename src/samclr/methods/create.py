"""From a configuration to its method."""

from typing import Any

import torch
from torch import nn

from samclr.config.methods import Which
from samclr.config.pretrain import OptimConfig, PretrainConfig
from samclr.config.registry import METHODS, resolve
from samclr.methods.anchors import anchored
from samclr.methods.base import Method
from samclr.models.backbone import create_backbone, load_pretrained
from samclr.models.drop_path import without_drop_path
from samclr.models.freeze import evaluate_frozen, freeze, freeze_norm
from samclr.models.lora import add_lora
from samclr.models.maps import behind_map
from samclr.models.momentum import AVERAGE, average, momentum_copy


def create_method(config: PretrainConfig, num_steps: int, with_weights: bool = True) -> Method:
    """Make the method of a configuration around a fresh backbone; the seed decides the weights.

    They lie channels last, in which convolutions are faster; in checkpoints' backbones they lie as everywhere. With
    `ema_decay` it has a part `average`: the backbone's running mean, see samclr.models.momentum.

    with_weights: begin with the pretrained weights that are named; a method that is restored needs none.

    Raises:
        ConfigError: the backbone cannot be had, or has no layers to freeze, to update or to leave out as asked for.
        UsageError: a package is missing.
    """
    torch.manual_seed(config.seed)
    model, size_px = config.model, config.group.size_px
    backbone = create_backbone(model, size_px, model.drop_path)
    if with_weights:
        load_pretrained(backbone, model)
    backbone.to(memory_format=torch.channels_last)
    freeze(backbone, model.freeze)
    freeze_norm(backbone, model.frozen_norm)
    if model.lora_rank is not None:
        add_lora(backbone, model, size_px)
        evaluate_frozen(backbone)
    method: Method = resolve(METHODS[config.method.name].build)(backbone, config.method, config.seed, num_steps)
    if method.maps_alone:
        method.not_reached = behind_map(backbone, size_px)
    if model.drop_path is not None:
        for copied in backbones_of(method)[1:]:
            without_drop_path(copied)
    if config.optim.ema_decay is not None:
        method.add_module(AVERAGE, momentum_copy(backbone_of(method)))
    return anchored(method, config.anchor, num_steps)


def backbone_of(method: nn.Module, which: Which = "student") -> nn.Module:
    """The part that is kept after pre-training: as it was trained, or its running mean."""
    if which == "student":
        return method.online_encoder.backbone  # type: ignore[union-attr, return-value]
    momentum: Any = getattr(method, "momentum_encoder", None)
    return getattr(method, AVERAGE) if momentum is None else momentum.backbone


def backbones_of(method: nn.Module) -> list[nn.Module]:
    """The trained backbone, and its momentum copy if the method has one."""
    momentum: Any = getattr(method, "momentum_encoder", None)
    return [backbone_of(method)] + ([] if momentum is None else [momentum.backbone])


def follow_weights(method: nn.Module, config: OptimConfig) -> None:
    """After a step of the optimiser: the average follows the backbone, where the method has one."""
    if config.ema_decay is not None:
        average(getattr(method, AVERAGE), backbone_of(method), config.ema_decay)

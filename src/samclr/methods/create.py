"""From a configuration to its method."""

import torch
from torch import nn

from samclr.config.pretrain import PretrainConfig
from samclr.config.registry import METHODS, resolve
from samclr.methods.anchors import anchored
from samclr.methods.base import Method
from samclr.models.backbone import create_backbone, load_pretrained


def create_method(config: PretrainConfig, num_steps: int) -> Method:
    """Make the method of a configuration around a fresh backbone; the seed decides the weights.

    They lie channels last, in which convolutions are faster; in checkpoints' backbones they lie as everywhere.
    """
    torch.manual_seed(config.seed)
    backbone = create_backbone(config.model, config.group.size_px)
    load_pretrained(backbone, config.model)
    backbone.to(memory_format=torch.channels_last)
    method: Method = resolve(METHODS[config.method.name].build)(backbone, config.method, config.seed, num_steps)
    return anchored(method, config.anchor, num_steps)


def backbone_of(method: nn.Module) -> nn.Module:
    """The part that is kept after pre-training."""
    return method.online_encoder.backbone  # type: ignore[union-attr, return-value]

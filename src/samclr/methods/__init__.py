"""Methods: each paper's loss in one file."""

import torch
from torch import nn

from samclr.config.methods import DinoConfig, MocoConfig
from samclr.config.pretrain import PretrainConfig
from samclr.methods.base import Method
from samclr.methods.dino import DINO
from samclr.methods.moco import MoCo
from samclr.methods.simclr import SimCLR
from samclr.models.backbone import create_backbone, load_pretrained


def create_method(config: PretrainConfig, num_steps: int) -> Method:
    """Make the method of a configuration around a fresh backbone; the seed decides the weights.

    They lie channels last, in which convolutions are faster; in checkpoints' backbones they lie as everywhere.
    """
    torch.manual_seed(config.seed)
    backbone, options = create_backbone(config.model, config.group.size_px), config.method
    load_pretrained(backbone, config.model)
    backbone.to(memory_format=torch.channels_last)
    if isinstance(options, MocoConfig):
        return MoCo(backbone, config, options, num_steps)
    if isinstance(options, DinoConfig):
        return DINO(backbone, config, options, num_steps)
    return SimCLR(backbone, config, options)


def backbone_of(method: nn.Module) -> nn.Module:
    """The part that is kept after pre-training."""
    return method.online_encoder.backbone  # type: ignore[union-attr, return-value]

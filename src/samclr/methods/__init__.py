"""Methods: each paper's loss in one file."""

from torch import nn

from samclr.config import PretrainConfig
from samclr.methods.base import Method
from samclr.methods.simclr import SimCLR
from samclr.models.backbone import create_backbone


def create_method(config: PretrainConfig) -> Method:
    """Make the method of a configuration around a fresh backbone; torch's seed decides the weights."""
    methods = {"simclr": SimCLR}
    return methods[config.method](create_backbone(config.model), config)


def backbone_of(method: nn.Module) -> nn.Module:
    """The part that is kept after pre-training."""
    return method.online_encoder.backbone  # type: ignore[union-attr, return-value]

"""Drop path (stochastic depth, Huang et al., ECCV 2016): blocks that are left out for some images while training."""

from typing import Any

from timm.layers import DropPath
from torch import nn

from samclr.errors import ConfigError
from samclr.models.layer_groups import name_of


def drop_path_options(rate: float | None, accepted: set[str]) -> dict[str, Any]:
    """Arguments of timm.create_model, of which the model accepts these, for a rate that rises to that of the last
    block."""
    return {} if rate is None or "drop_path_rate" not in accepted else {"drop_path_rate": rate}


def check_drop_path(backbone: nn.Module, rate: float | None) -> None:
    """Raise ConfigError if a rate is asked for that the backbone has no place for."""
    if rate and not any(isinstance(module, DropPath) and module.drop_prob for module in backbone.modules()):
        raise ConfigError(f"drop_path is {rate:g}; {name_of(backbone)} has no drop path, leave it out", "drop_path")


def without_drop_path(module: nn.Module) -> None:
    """Leave out no block any more, in place."""
    for part in module.modules():
        if isinstance(part, DropPath):
            part.drop_prob = 0.0

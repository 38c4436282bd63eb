"""What timm takes no plain values for, set in a backbone after it is built: eps of norms, how places are resampled."""

from typing import Any

import timm
import torch
from timm.models.convnext import ConvNeXt
from torch import nn

from samclr.errors import ConfigError
from samclr.log import option_of
from samclr.models.positions import resample_as
from samclr.models.sizes import InputSizes


def set_details(backbone: nn.Module, details: dict[str, Any]) -> None:
    """Set samclr.config.model_args.DETAILS.

    Raises:
        ConfigError: the backbone has no such thing, or the value is none of its kind.
    """
    for name in ("norm_eps", "final_norm_eps"):
        if name in details and not (isinstance(details[name], float) and 0 < details[name] < 1):
            raise ConfigError(f"{option_of('model_args')} has {name} {details[name]}; expected a small number over 0")
    if "norm_eps" in details:
        _set_eps([one for one in backbone.modules() if isinstance(one, nn.LayerNorm)], details["norm_eps"])
    if "final_norm_eps" in details:
        _set_eps([backbone.head.norm] if isinstance(backbone, ConvNeXt) else [], details["final_norm_eps"])
    if "pos_resampling" in details:
        resample_as(backbone, details["pos_resampling"])


def difference_without(backbone: nn.Module, side_px: int) -> float:
    """How far features are, of the largest, from those of timm's own model with the same weights and no details.

    Of two noise images with sides of `side_px`; the backbone is one of `create_backbone`'s.
    """
    sizes: InputSizes = backbone.input_sizes  # type: ignore[assignment]
    with torch.random.fork_rng(devices=[]):  # the caller's own draws go on as if there had been none
        plain = timm.create_model(sizes.name, num_classes=0, **dict(sizes.options)).eval()
    plain.load_state_dict(backbone.state_dict())
    pixels = torch.randn(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = backbone(pixels)
        return float((plain(pixels) - own).abs().max() / own.abs().max())


def _set_eps(norms: list[Any], eps: float) -> None:
    if not norms:
        raise ConfigError(f"{option_of('model_args')} has an eps of layer norms, which it lacks; leave it out")
    for norm in norms:
        norm.eps = eps

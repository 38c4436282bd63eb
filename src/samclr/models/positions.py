"""Position embeddings of ViTs at another image size, resampled as the family that trained them does.

timm: bicubic with antialiasing, which is also DINOv2's with registers. `bicubic`: without antialiasing, as Hugging
Face's ViT, DINOv2, CLIP and SigLIP. `bicubic-offset`: so, and by a scale that is 0.1 patches too large, as the
original files of DINO, iBOT and DINOv2 (their `interpolate_pos_encoding`).
"""

import types
from typing import Any, get_args

import torch
from torch import Tensor, nn

from samclr.config.model_args import Resampling
from samclr.errors import ConfigError
from samclr.log import option_of

OFFSET = 0.1  # patches


def resampled(places: Tensor, num_prefix: int, size: tuple[int, int], way: Resampling | None) -> Tensor:
    """Position embeddings [1 num_prefix+p d] of a square of patches for `size` rows and columns of them."""
    prefix, patches = places[:, :num_prefix], places[:, num_prefix:]
    side = round(patches.shape[1] ** 0.5)
    if size == (side, side):
        return places
    grid = patches.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if way == "bicubic-offset":
        scale = [float(number + OFFSET) / side for number in size]
        grid = nn.functional.interpolate(grid, scale_factor=scale, mode="bicubic")
    else:
        grid = nn.functional.interpolate(grid, size=size, mode="bicubic", antialias=way is None)
    return torch.cat([prefix, grid.flatten(2).transpose(1, 2).to(places.dtype)], dim=1)


def resample_as(backbone: nn.Module, way: Any) -> None:
    """Have a timm VisionTransformer of any image size resample its position embeddings in this way.

    Raises:
        ConfigError: it is another model, or there is no such way.
    """
    if way not in get_args(Resampling):
        raise ConfigError(
            f"{option_of('model_args')} has pos_resampling {way}; expected {' or '.join(get_args(Resampling))}"
        )
    if not getattr(backbone, "dynamic_img_size", False) or not hasattr(backbone, "_pos_embed"):
        raise ConfigError(f"{option_of('model_args')} has pos_resampling, which is for ViTs; leave it out")
    backbone.pos_resampling = way
    backbone._pos_embed = types.MethodType(_pos_embed, backbone)  # type: ignore[assignment]


def _pos_embed(self: Any, x: Tensor) -> Tensor:
    """timm's VisionTransformer._pos_embed with `resampled`. x: patches [n h w d] -> tokens [n t d]."""
    tokens = [one.expand(x.shape[0], -1, -1) for one in (self.cls_token, self.reg_token) if one is not None]
    num_prefix = 0 if self.no_embed_class else self.num_prefix_tokens
    places = resampled(self.pos_embed, num_prefix, (x.shape[1], x.shape[2]), self.pos_resampling)
    x = x.flatten(1, 2)
    places_of_patches, places_of_all = (places, 0) if self.no_embed_class else (0, places)
    found: Tensor = self.pos_drop(torch.cat([*tokens, x + places_of_patches], dim=1) + places_of_all)
    return found

"""Patch features: what a backbone says of each place of an image, before it is averaged over places."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from samclr.config.normalisation import normalisation_of
from samclr.errors import EvaluationError
from samclr.log import option_of
from samclr.models import maps
from samclr.models.freeze import modes_kept
from samclr.models.maps import feature_map, patch_px

__all__ = [
    "RESIZED", "feature_map", "input_size", "num_stages", "patch_features", "patch_maps", "patch_px", "resize",
    "stage_number",
]  # fmt: skip

RESIZED = "bilinear, antialiased, whole patches"  # what `resize` and `input_size` do


def num_stages(backbone: nn.Module) -> int:
    """Feature maps to choose among. Raises EvaluationError if the backbone has none."""
    if reason := maps.lacks_maps(backbone, "dense tasks"):
        raise EvaluationError(reason)
    return maps.num_stages(backbone)


def stage_number(backbone: nn.Module, stage: int | None, setting: str = "dense_stage") -> int:
    """The stage that a setting asks for, by default the last. Raises EvaluationError if there is no such stage."""
    stages = num_stages(backbone)
    if stage is None:
        return stages - 1
    if not 0 <= stage < stages:
        raise EvaluationError(f"{option_of(setting)} {stage}: the backbone has stages 0 to {stages - 1}")
    return stage


def input_size(height: int, width: int, short_px: int, multiple: int) -> tuple[int, int]:
    """Rows and columns with the shorter side near `short_px`, both rounded to whole patches, at least one."""
    scale = short_px / min(height, width)
    rows, columns = (max(round(side * scale / multiple), 1) * multiple for side in (height, width))
    return rows, columns


def resize(pixels: UInt8[np.ndarray, "h w 3"], size_hw: tuple[int, int]) -> UInt8[np.ndarray, "3 rows columns"]:
    """Bilinear, antialiased."""
    image = Image.fromarray(pixels).resize(size_hw[::-1], Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def patch_features(
    backbone: nn.Module, pixels: UInt8[np.ndarray, "n 3 h w"], stage: int, device: torch.device
) -> Float[Tensor, "n d gh gw"]:
    """`patch_maps` on the CPU."""
    return patch_maps(backbone, pixels, stage, device).cpu()


@torch.no_grad()
def patch_maps(
    backbone: nn.Module, pixels: UInt8[np.ndarray, "n 3 h w"], stage: int, device: torch.device
) -> Float[Tensor, "n d gh gw"]:
    """Features of each patch in float32 on the device; something may be trained on them.

    The backbone is in evaluation mode meanwhile; its mode is put back afterwards.

    Raises:
        EvaluationError: the backbone does not accept images of this size.
    """
    with modes_kept(backbone):
        backbone.eval().to(device)
        batch = normalisation_of(backbone)(torch.from_numpy(pixels).to(device).float().div_(255.0))
        try:
            patches = feature_map(backbone, batch, stage)
        except (AssertionError, ValueError) as error:  # timm's words for a size that does not fit
            size = "x".join(map(str, pixels.shape[-2:]))
            raise EvaluationError(f"the backbone does not accept images of {size} px: {error}") from None
    return patches.float()

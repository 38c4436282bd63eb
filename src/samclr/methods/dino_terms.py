"""What DINO may learn beside views: a region's pooled patches, and masked patches (iBOT, Zhou et al., ICLR 2022)."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from samclr.errors import ConfigError
from samclr.log import option_of
from samclr.methods.base import Encoder
from samclr.methods.patch_losses import shares_cross_entropy, shares_of_others
from samclr.methods.ranks import num_ranks, sum_over_ranks
from samclr.models.heads import DinoHead
from samclr.models.maps import pool_regions

LEAST_PATCHES = 3  # a side: no block of a mask finds a place in fewer


class PatchMask:
    """A hook on a ViT's patch embedding: puts the token where `mask` holds, and does nothing while there is none."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        self.token: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: Any, tokens: Tensor) -> Tensor | None:
        """tokens: [n p c], or [n h w c] where the ViT takes any image size."""
        if self.mask is None or self.token is None:
            return None
        return torch.where(self.mask.reshape(*tokens.shape[:-1], 1), self.token.to(tokens.dtype), tokens)


class DinoEncoder(Encoder):
    """Backbone and head, and what the terms need: heads of their own where they share none, and a mask token.

    Raises:
        ConfigError: patches are to be masked, and the backbone is not a ViT.
    """

    mask_token: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module, own_heads: dict[str, DinoHead], masks_patches: bool):
        """own_heads: of the terms `region` and `patch`; one without takes `head`."""
        super().__init__(backbone, head)
        self.own_heads = nn.ModuleDict(own_heads)
        if masks_patches:
            if not isinstance(backbone, (VisionTransformer, Eva)):
                raise ConfigError(
                    f"masked_patch_weight needs a ViT, whose patches are tokens that can be masked; "
                    f"{type(backbone).__name__} is not one of timm's: leave {option_of('masked_patch_weight')} at 0",
                    "masked_patch_weight",
                )
            self.mask_token = nn.Parameter(torch.zeros(backbone.embed_dim))
            self.patch_mask = PatchMask()
            backbone.patch_embed.register_forward_hook(self.patch_mask)

    def grid_hw(self, side_px: int) -> tuple[int, int]:
        """A ViT's patches of a view.

        Raises:
            ConfigError: they are too few to mask blocks of them.
        """
        grid: tuple[int, int] = self.backbone.patch_embed.dynamic_feat_size((side_px, side_px))  # type: ignore[union-attr, operator]
        if min(grid) < LEAST_PATCHES:
            raise ConfigError(
                f"a view of {side_px} px has {grid[0]} x {grid[1]} patches; masked_patch_weight expects "
                f"{LEAST_PATCHES} a side or more: give a larger {option_of('size_px')}, or smaller patches",
                "masked_patch_weight",
            )
        return grid

    def views_and_terms(
        self,
        pixels: Float[Tensor, "b v c h w"],
        terms: dict[str, tuple[Tensor, ...]],
        hides: bool,
        frozen: bool = False,
    ) -> tuple[Float[Tensor, "b v k"], dict[str, Float[Tensor, "_ k"]]]:
        """Scores of views; and of the terms, a row for each region taught and one for each masked patch.

        terms: `region`: the share of each patch that a region covers [b v r gh gw], and which are taught [b v r].
            `patch`: which patches are masked [b v gh gw].
        hides: the backbone sees the mask token in their place. frozen: the prototypes get a gradient of zero.
        """
        seen = {term: tuple(part.flatten(0, 1) for part in parts) for term, parts in terms.items()}
        if hides and "patch" in seen:
            self.patch_mask.mask, self.patch_mask.token = seen["patch"][0], self.mask_token
        try:
            features, maps = self.features_and_map(pixels.flatten(0, 1))
        finally:
            if "patch" in seen:
                self.patch_mask.mask = self.patch_mask.token = None
        rows = {"views": features}
        if "region" in seen:
            shares, taught = seen["region"]
            rows["region"] = pool_regions(maps, shares)[taught].to(features.dtype)
        if "patch" in seen:
            rows["patch"] = maps.permute(0, 2, 3, 1)[seen["patch"][0]]
        shared = [name for name in rows if name not in self.own_heads]
        joined = self.head(torch.cat([rows[name] for name in shared]), frozen=frozen)  # one pass, one batch norm
        scores = dict(zip(shared, joined.split([len(rows[name]) for name in shared]), strict=True))
        scores |= {name: self.own_heads[name](rows[name], frozen=frozen) for name in rows if name in self.own_heads}
        return scores.pop("views").unflatten(0, pixels.shape[:2]), scores


def taught_regions(shown: Bool[Tensor, "b v r"]) -> Bool[Tensor, "b v r"]:
    """Which regions a view shows that another view of its row shows, too."""
    return shown & (shown.sum(1, keepdim=True) > 1)


def region_loss(
    student: Float[Tensor, "m k"], teacher: Float[Tensor, "m k"], taught: Bool[Tensor, "b v r"], temperature: float
) -> Float[Tensor, ""]:
    """Cross entropy of a region in one view with the teacher's shares of it in another; mean over all ranks' pairs.

    A row of scores, or of shares in float32 or better, for each True of `taught`.
    """
    b, _, r = taught.shape
    row, _, region = taught.nonzero(as_tuple=True)
    others = (taught.sum(1, keepdim=True) - 1).expand_as(taught)[taught]
    pairs = sum_over_ranks(others.sum()).clamp(min=1).to(teacher.dtype)
    weights = (num_ranks() / pairs).expand(len(student))
    return shares_cross_entropy(student, shares_of_others(teacher, row * r + region, b * r), weights, temperature)


def patch_loss(
    student: Float[Tensor, "m k"], teacher: Float[Tensor, "m k"], masks: Bool[Tensor, "b v h w"], temperature: float
) -> Float[Tensor, ""]:
    """Cross entropy of a masked patch with the teacher's shares of what it shows (iBOT, section 3).

    A row of scores, or of shares in float32 or better, for each True of `masks`. Mean over a view's masked patches,
    then over all views; those without a mask count as 0.
    """
    views = masks.flatten(0, 1)
    weights = 1 / views.sum((1, 2)).clamp(min=1).to(teacher.dtype)[views.nonzero()[:, 0]] / len(views)
    return shares_cross_entropy(student, teacher, weights, temperature)

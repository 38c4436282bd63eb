"""Feature maps: what a backbone says of each place of an image, beside its features of the whole, in one pass.

A backbone has maps if it has timm's `forward_intermediates` and `feature_info`: all its CNNs and ViTs, and small-cnn.
The map is that of the last stage of a CNN, and of a ViT the patch tokens of its last block, normed, without class and
register tokens.
"""

import inspect
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samclr.config.pretrain import ModelConfig
from samclr.errors import ConfigError
from samclr.models.backbone import create_backbone
from samclr.models.freeze import modes_kept
from samclr.models.onnx_file import lacks
from samclr.models.sizes import reason_of


def lacks_maps(backbone: nn.Module, what: str) -> str | None:
    """Why a backbone does not do for `what`, which needs feature maps; None for one that does."""
    if reason := lacks(backbone, what):
        return reason
    if not hasattr(backbone, "forward_intermediates") or not hasattr(backbone, "feature_info"):
        return (
            f"{type(backbone).__name__} has no feature maps (timm's forward_intermediates); "
            f"{what} need a backbone that does, such as a ResNet, ConvNeXt or ViT"
        )
    return None


def num_stages(backbone: nn.Module) -> int:
    """Feature maps to choose among."""
    return len(backbone.feature_info)  # type: ignore[arg-type]


def map_width(backbone: nn.Module) -> int:
    """Channels of the last stage's feature map; of a CNN not always the width of its features.

    Raises:
        ConfigError: the backbone has no feature maps.
    """
    if reason := lacks_maps(backbone, "views that carry regions"):
        raise ConfigError(reason)
    return int(backbone.feature_info[-1]["num_chs"])  # type: ignore[index]


def patch_px(backbone: nn.Module) -> int:
    """Images must have sides of whole multiples of this, so that patches tile them."""
    return max(int(info["reduction"]) for info in backbone.feature_info)  # type: ignore[union-attr]


def feature_map(backbone: nn.Module, pixels: Float[Tensor, "n 3 h w"], stage: int) -> Float[Tensor, "n c gh gw"]:
    """A stage's feature map of normalised pixels."""
    (maps,) = feature_maps(backbone, pixels, [stage])
    return maps


def feature_maps(
    backbone: nn.Module, pixels: Float[Tensor, "n 3 h w"], stages: Sequence[int]
) -> list[Float[Tensor, "n c gh gw"]]:
    """The feature maps of several stages, in their order, in one pass."""
    return list(backbone.forward_intermediates(pixels, **_options(backbone, stages), intermediates_only=True))  # type: ignore[operator]


def features_and_map(
    backbone: nn.Module, pixels: Float[Tensor, "n 3 h w"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n c gh gw"]]:
    """The features that the backbone gives, and its last stage's feature map, in one pass; gradients flow to both."""
    last = num_stages(backbone) - 1
    final, (maps,) = backbone.forward_intermediates(pixels, **_options(backbone, [last]))  # type: ignore[operator]
    return backbone.forward_head(final), maps  # type: ignore[operator]


def pool_regions(maps: Float[Tensor, "n c gh gw"], shares: Float[Tensor, "n r gh gw"]) -> Float[Tensor, "n r c"]:
    """Mean of a map under each region's mask, cells weighted by their shares (Hénaff et al., 2021, eq. 1).

    A region without any share gets the mean of the whole map: finite, and like features to a batch norm that follows.
    float32 or better, also under autocast.
    """
    with torch.autocast(maps.device.type, enabled=False):
        cells = maps.flatten(2)
        cells = cells.float() if cells.dtype in (torch.float16, torch.bfloat16) else cells
        weights = shares.flatten(2).to(cells.dtype)
        total = weights.sum(-1, keepdim=True)
        weights = torch.where(total > 0, weights / total.clamp(min=torch.finfo(cells.dtype).tiny), 1 / cells.shape[-1])
        return weights @ cells.transpose(1, 2)


def behind_map(backbone: nn.Module, size_px: int) -> tuple[str, ...]:
    """Names of the parameters that learn but have no part in the last stage's map of views of `size_px`.

    They make the features of the map: a CNN's layers after its stages, a ViT's attention pooling or norm of its mean.
    A loss of maps alone gives them no gradient. Costs one pass over one image in evaluation mode.
    """
    learning = {name: one for name, one in backbone.named_parameters() if one.requires_grad}
    example = next(backbone.parameters())
    with modes_kept(backbone), torch.enable_grad():
        pixels = torch.zeros(1, 3, size_px, size_px, device=example.device, dtype=example.dtype)
        _, maps = features_and_map(backbone.eval(), pixels)
    if not maps.requires_grad:
        return tuple(learning)
    gradients = torch.autograd.grad(maps.sum(), list(learning.values()), allow_unused=True)
    return tuple(name for name, gradient in zip(learning, gradients, strict=True) if gradient is None)


def map_side(config: ModelConfig, size_px: int) -> int:
    """Cells along each side of the last stage's map of a view of `size_px`, tried on the meta device.

    Raises:
        ConfigError: the backbone has no feature maps, or does not take views of this size, or its maps are not square.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        backbone = create_backbone(config, size_px).eval()
        map_width(backbone)
        try:
            _, maps = features_and_map(backbone, torch.zeros(1, 3, size_px, size_px))
        except Exception as error:  # asserts, views and products of shapes that do not fit
            raise ConfigError(f"{config.backbone} gives no map of {size_px} px ({reason_of(error)})") from None
    if maps.ndim != 4 or maps.shape[2] != maps.shape[3]:
        shape = "x".join(map(str, maps.shape[1:]))
        raise ConfigError(f"{config.backbone} gives a map of {shape} for a square view; expected a square one")
    return int(maps.shape[-1])


def _options(backbone: nn.Module, stages: Sequence[int]) -> dict[str, object]:
    accepted = inspect.signature(backbone.forward_intermediates).parameters  # type: ignore[arg-type]
    return {"indices": list(stages), "output_fmt": "NCHW", **({"norm": True} if "norm" in accepted else {})}

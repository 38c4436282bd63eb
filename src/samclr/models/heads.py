"""Heads that turn features into embeddings."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from samclr.config.methods import ProjectorConfig


def simclr_head(width_in: int, config: ProjectorConfig) -> nn.Sequential:
    """SimCLR's projector; batch norm, if any, follows both layers, as in lightly's ImageNette benchmark."""
    widths = (width_in, config.projector_hidden or width_in, config.projector_out)
    return mlp(widths, nn.ReLU, config.projector_norm, norm_last=config.projector_norm)


def moco_head(width_in: int, config: ProjectorConfig) -> nn.Sequential:
    """MoCo v2's projector: two layers; batch norm, if any, follows the hidden one."""
    return plain_head(width_in, config, num_layers=2)


def plain_head(width_in: int, config: ProjectorConfig, num_layers: int) -> nn.Sequential:
    """A projector of so many layers; batch norm, if any, follows the hidden ones."""
    hidden = (config.projector_hidden or width_in,) * (num_layers - 1)
    return mlp((width_in, *hidden, config.projector_out), nn.ReLU, config.projector_norm, norm_last=False)


def simsiam_head(width_in: int, config: ProjectorConfig) -> nn.Sequential:
    """SimSiam's projector: three layers; batch norm, if any, follows all, the last without weights of its own."""
    hidden = config.projector_hidden or width_in
    widths = (width_in, hidden, hidden, config.projector_out)
    return mlp(widths, nn.ReLU, config.projector_norm, norm_last=config.projector_norm, affine_last=False)


def predictor_head(config: ProjectorConfig, hidden: int) -> nn.Sequential:
    """BYOL's and SimSiam's predictor: two layers from embeddings to embeddings, norm as in the projector's hidden."""
    out = config.projector_out
    return mlp((out, hidden, out), nn.ReLU, config.projector_norm, norm_last=False)


class SwavHead(nn.Module):
    """SwAV's head: a projector of two layers onto the unit sphere, and products with prototypes that lie on it, too."""

    def __init__(self, width_in: int, config: ProjectorConfig, num_prototypes: int):
        super().__init__()
        self.layers = plain_head(width_in, config, num_layers=2)
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, config.projector_out))
        nn.init.kaiming_uniform_(self.prototypes, a=5**0.5)
        self.normalize_prototypes()

    def forward(self, features: Float[Tensor, "n d"], frozen: bool = False) -> Float[Tensor, "n k"]:
        """Scores from -1 to 1. Where `frozen`, the prototypes get a gradient of zero."""
        embeddings = F.normalize(self.layers(features).to(self.prototypes.dtype), dim=-1)
        return embeddings @ _frozen_if(self.prototypes, frozen).T

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        """Put the prototypes back onto the unit sphere, in place."""
        self.prototypes.copy_(F.normalize(self.prototypes, dim=-1))


class DinoHead(nn.Module):
    """DINO's head: three layers, a bottleneck on the unit sphere, and cosine similarities to prototypes."""

    def __init__(self, width_in: int, config: ProjectorConfig, num_prototypes: int):
        super().__init__()
        hidden, bottleneck = config.projector_hidden or width_in, config.projector_out
        self.layers = mlp((width_in, hidden, hidden, bottleneck), nn.GELU, config.projector_norm, norm_last=False)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, bottleneck))
        nn.init.kaiming_uniform_(self.prototypes, a=5**0.5)

    def forward(self, features: Float[Tensor, "n d"], frozen: bool = False) -> Float[Tensor, "n k"]:
        """Scores from -1 to 1. Where `frozen`, the prototypes get a gradient of zero."""
        prototypes = _frozen_if(self.prototypes, frozen)
        bottleneck = F.normalize(self.layers(features).to(prototypes.dtype), dim=-1)
        return bottleneck @ F.normalize(prototypes, dim=-1).T


def _frozen_if(weights: Tensor, frozen: bool) -> Tensor:
    """The same values; they stay in the graph, since data-parallel training wants a gradient of all."""
    return weights.detach() + 0.0 * weights if frozen else weights


def mlp(
    widths: tuple[int, ...], activation: type[nn.Module], norm: bool, norm_last: bool, affine_last: bool = True
) -> nn.Sequential:
    """Linear layers; batch norm and the activation follow all but the last, which has batch norm if `norm_last`."""
    layers: list[nn.Module] = []
    for number, (width_in, width_out) in enumerate(pairwise(widths), start=1):
        last = number == len(widths) - 1
        normed = norm_last if last else norm
        layers.append(nn.Linear(width_in, width_out, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(width_out, affine=affine_last or not last))
        if not last:
            layers.append(activation())
    return nn.Sequential(*layers)

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
    widths = (width_in, config.projector_hidden or width_in, config.projector_out)
    return mlp(widths, nn.ReLU, config.projector_norm, norm_last=False)


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
        prototypes: Tensor = self.prototypes
        if frozen:  # the same value; kept in the graph, since data-parallel training wants a gradient of all
            prototypes = prototypes.detach() + 0.0 * prototypes
        bottleneck = F.normalize(self.layers(features).to(prototypes.dtype), dim=-1)
        return bottleneck @ F.normalize(prototypes, dim=-1).T


def mlp(widths: tuple[int, ...], activation: type[nn.Module], norm: bool, norm_last: bool) -> nn.Sequential:
    """Linear layers; batch norm and the activation follow all but the last, which has batch norm if `norm_last`."""
    layers: list[nn.Module] = []
    for number, (width_in, width_out) in enumerate(pairwise(widths), start=1):
        last = number == len(widths) - 1
        normed = norm_last if last else norm
        layers.append(nn.Linear(width_in, width_out, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(width_out))
        if not last:
            layers.append(activation())
    return nn.Sequential(*layers)

"""Heads that turn features into embeddings."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def simclr_head(width_in: int, hidden: int, width_out: int, norm: bool) -> nn.Sequential:
    """SimCLR's projector; with `norm`, batch norm after both layers, as in lightly's ImageNette benchmark."""
    return _mlp((width_in, hidden, width_out), nn.ReLU, norm, norm_last=norm)


def moco_head(width_in: int, hidden: int, width_out: int, norm: bool) -> nn.Sequential:
    """MoCo v2's projector: two layers; with `norm`, batch norm after the hidden one."""
    return _mlp((width_in, hidden, width_out), nn.ReLU, norm, norm_last=False)


class DinoHead(nn.Module):
    """DINO's head: three layers, a bottleneck on the unit sphere, and cosine similarities to prototypes."""

    def __init__(self, width_in: int, hidden: int, bottleneck: int, num_prototypes: int, norm: bool):
        super().__init__()
        self.layers = _mlp((width_in, hidden, hidden, bottleneck), nn.GELU, norm, norm_last=False)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, bottleneck))
        nn.init.kaiming_uniform_(self.prototypes, a=5**0.5)
        self.frozen = False

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Scores from -1 to 1. While `frozen`, the prototypes get a gradient of zero."""
        prototypes: Tensor = self.prototypes
        if self.frozen:  # the same value; kept in the graph, since data-parallel training wants a gradient of all
            prototypes = prototypes.detach() + 0.0 * prototypes
        bottleneck = F.normalize(self.layers(features).to(prototypes.dtype), dim=-1)
        return bottleneck @ F.normalize(prototypes, dim=-1).T


def _mlp(widths: tuple[int, ...], activation: type[nn.Module], norm: bool, norm_last: bool) -> nn.Sequential:
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

"""Losses over patches: similarities held to an anchor's, shares learnt from a teacher. Float32 or better, as losses.py.

A feature map [n c h w] has a patch in each cell.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from samclr.methods.loss_arguments import in_full_precision


@in_full_precision
def gram_distance(maps: Float[Tensor, "*n c h w"], anchor: Float[Tensor, "*n d h w"]) -> Float[Tensor, ""]:
    """Mean squared difference of two Gram matrices of unit patch features (Siméoni et al., DINOv3, 2025, section 4.2).

    A Gram matrix holds the cosines of all pairs of patches of one view. The paper writes their sum of squares, its
    code takes the mean, as here. The anchor gets no gradient.
    """
    difference = _gram(maps) - _gram(anchor.detach())
    return difference.square().mean()


def _gram(maps: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n p p"]:
    unit = F.normalize(maps.flatten(-2), dim=-2)
    return unit.transpose(-1, -2) @ unit


@in_full_precision
def feature_distance(maps: Float[Tensor, "*n c h w"], anchor: Float[Tensor, "*n c h w"]) -> Float[Tensor, ""]:
    """Mean of 1 - cosine of each patch's features with the anchor's: 0 alike, 2 opposed. The anchor has no gradient."""
    cosine = (F.normalize(maps, dim=-3) * F.normalize(anchor.detach(), dim=-3)).sum(-3)
    return (1 - cosine).mean()


@in_full_precision
def shares_cross_entropy(
    student: Float[Tensor, "m k"], teacher: Float[Tensor, "m k"], weights: Float[Tensor, "m"], temperature: float
) -> Float[Tensor, ""]:
    """Weighted sum of the cross entropies of student scores with a teacher's shares.

    Shares that sum to n count as n teachers. With a row for each masked patch and weights of 1 over its view's masked
    patches and over all views it is iBOT's (Zhou et al., ICLR 2022, section 3).
    """
    log_total = torch.logsumexp(student / temperature, -1)
    terms = teacher.sum(-1) * log_total - torch.linalg.vecdot(teacher, student) / temperature
    return (weights * terms).sum()


@torch.no_grad()
def shares_of_others(shares: Float[Tensor, "m k"], group: Int[Tensor, "m"], num_groups: int) -> Float[Tensor, "m k"]:
    """For each row the sum of the shares of the other rows of its group: what other views say of one region."""
    totals = shares.new_zeros(num_groups, shares.shape[1]).index_add_(0, group, shares)
    return totals[group] - shares

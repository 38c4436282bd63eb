"""Losses as pure functions of embeddings, in float32."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def nt_xent(embeddings: Float[Tensor, "b v d"], temperature: float) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy (Chen et al., SimCLR, 2020, eq. 1).

    Every embedding in turn is the anchor; its positives are the other views of its row, its negatives all
    views of all other rows. With more than two views the positives' terms are averaged.
    """
    b, v, _ = embeddings.shape
    unit = F.normalize(embeddings.float(), dim=-1).flatten(0, 1)
    logits = unit @ unit.T / temperature
    own = torch.eye(b * v, dtype=torch.bool, device=logits.device)
    log_total = torch.logsumexp(logits.masked_fill(own, -torch.inf), dim=1)
    rows = unit.unflatten(0, (b, v))
    same_row = rows @ rows.transpose(1, 2) / temperature
    positives = (same_row.sum(-1) - same_row.diagonal(dim1=1, dim2=2)) / (v - 1)
    return (log_total - positives.flatten()).mean()


def chance_loss(num_embeddings: int) -> float:
    """NT-Xent when all embeddings are alike: log(2n - 1) for n pairs."""
    return math.log(num_embeddings - 1)


def embedding_spread(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean deviation of the normalised embeddings times sqrt(d): near 1 when spread over the sphere, 0 collapsed."""
    unit = F.normalize(embeddings.float(), dim=-1)
    return unit.std(0).mean() * math.sqrt(unit.shape[1])

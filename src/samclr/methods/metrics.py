"""What embeddings look like while they are trained; each metric is defined with its formula in docs/metrics.md."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samclr.methods.loss_arguments import in_full_precision
from samclr.methods.losses import embedding_spread

EVERY_STEPS = 20  # the spread is measured at each step, the rest at every twentieth: it costs products over all pairs
UNIFORMITY_SCALE = 2.0


@torch.no_grad()
def embedding_metrics(
    embeddings: Float[Tensor, "b v d"],
    image_index: Int[Tensor, "b"],
    step: int,
    counted: Bool[Tensor, "b"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Spread; and at every twentieth step alignment, uniformity, effective rank, and similarities of pairs.

    counted: which rows there are; all by default. A choice of rows instead would make the device wait.
    """
    views = None if counted is None else counted.repeat_interleave(embeddings.shape[1])
    metrics = {"embedding_spread": embedding_spread(embeddings.flatten(0, 1), views)}
    if step % EVERY_STEPS == 0:
        metrics |= pair_metrics(embeddings, image_index, views)
    return metrics


@torch.no_grad()
@in_full_precision
def pair_metrics(
    embeddings: Float[Tensor, "b v d"], image_index: Int[Tensor, "b"], counted: Bool[Tensor, "n"] | None = None
) -> dict[str, Float[Tensor, ""]]:
    """Metrics over all pairs of views; NaN for pairs that the batch lacks, so that all ranks have the same keys.

    counted: which views there are.
    """
    b, v, _ = embeddings.shape
    unit = F.normalize(embeddings, dim=-1).flatten(0, 1)
    if counted is not None:
        unit = unit * counted[:, None]  # rows of zeros add no singular value
    cosine = unit @ unit.T
    row = torch.arange(b, device=unit.device).repeat_interleave(v)
    image = image_index.to(unit.device).repeat_interleave(v)
    same_row = row[:, None] == row[None]
    same_image = (image[:, None] == image[None]) & ~same_row
    other = ~same_row & ~same_image
    off_diagonal = ~torch.eye(b * v, dtype=torch.bool, device=unit.device)
    if counted is not None:
        there = counted[:, None] & counted[None]
        same_row, same_image, other, off_diagonal = (
            mask & there for mask in (same_row, same_image, other, off_diagonal)
        )
    similarity = masked_mean(cosine, same_row & off_diagonal)
    squared = 2 - 2 * cosine
    return {
        "alignment": 2 - 2 * similarity,
        "uniformity": masked_mean(torch.exp(-UNIFORMITY_SCALE * squared), off_diagonal).log(),
        "effective_rank": effective_rank(unit),
        "similarity_positive": similarity,
        "similarity_other_image": masked_mean(cosine, other),
        "similarity_same_image": masked_mean(cosine, same_image),
    }


def effective_rank(rows: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """exp of the entropy of the normalised singular values (Garrido et al., RankMe, 2023, eq. 1).

    NaN where a number is not finite: torch has no singular values then, and the loss, which is not finite either, is to
    be told.
    """
    finite = rows.isfinite().all()
    singular = torch.linalg.svdvals(torch.where(finite, rows, 0.0))
    shares = singular / singular.sum() + 1e-7
    return torch.where(finite, torch.exp(-(shares * shares.log()).sum()), torch.nan)


def share_entropy(shares: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """Entropy of shares that sum to 1, over log k: 1 is uniform, 0 is all on one."""
    return -(shares * (shares + 1e-12).log()).sum(-1) / math.log(shares.shape[-1])


def masked_mean(values: Float[Tensor, "n m"], mask: Tensor) -> Float[Tensor, ""]:
    """Mean of the values where the mask holds; NaN where it never does."""
    return (values * mask).sum() / mask.sum()

"""Losses as pure functions of embeddings, in float32 or better, also under autocast."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samclr.ranks import largest_over_ranks, sum_over_ranks

SINKHORN_ROUNDS = 3


def in_full_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function without autocast, its half-precision tensors raised to float32."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        tensors = [a for a in arguments if isinstance(a, Tensor)]
        raised = [
            a.float() if isinstance(a, Tensor) and a.dtype in (torch.float16, torch.bfloat16) else a for a in arguments
        ]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return function(*raised, **options)

    return wrapped


@in_full_precision
def nt_xent(
    embeddings: Float[Tensor, "b v d"], temperature: float, image_index: Int[Tensor, "b"] | None = None
) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy (Chen et al., SimCLR, 2020, eq. 1).

    Every embedding in turn is the anchor; its positives are the other views of its row, its negatives all
    views of all other rows. With more than two views the positives' terms are averaged. With `image_index`, other rows
    of the anchor's own image are no negatives.
    """
    b, v, _ = embeddings.shape
    unit = F.normalize(embeddings, dim=-1).flatten(0, 1)
    logits = unit @ unit.T / temperature
    left_out = torch.eye(b * v, dtype=torch.bool, device=logits.device)
    if image_index is not None:
        row = torch.arange(b, device=logits.device)
        same_image = (image_index[:, None] == image_index[None]) & (row[:, None] != row[None])
        left_out |= same_image.repeat_interleave(v, 0).repeat_interleave(v, 1)
    log_total = torch.logsumexp(logits.masked_fill(left_out, -torch.inf), dim=1)
    rows = unit.unflatten(0, (b, v))
    same_row = rows @ rows.transpose(1, 2) / temperature
    positives = (same_row.sum(-1) - same_row.diagonal(dim1=1, dim2=2)) / (v - 1)
    return (log_total - positives.flatten()).mean()


@in_full_precision
def queue_contrast(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "n d"],
    queue: Float[Tensor, "q d"],
    temperature: float,
    left_out: Bool[Tensor, "n q"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of a query with its key against a queue of keys on the unit sphere (He et al., MoCo, 2020, eq. 1).

    `left_out`: True where a key of the queue is no negative of a query.
    """
    queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
    positives = (queries * keys).sum(-1, keepdim=True)
    negatives = queries @ queue.to(queries.dtype).T
    if left_out is not None:
        negatives = negatives.masked_fill(left_out, -torch.inf)
    logits = torch.cat([positives, negatives], 1) / temperature
    return (torch.logsumexp(logits, 1) - logits[:, 0]).mean()


@in_full_precision
def self_distillation(
    student: Float[Tensor, "b s k"], teacher: Float[Tensor, "b t k"], temperature: float
) -> Float[Tensor, ""]:
    """Cross entropy of each student view with the teacher's shares of each other view (Caron et al., 2021, eq. 3).

    student: scores. teacher: shares that sum to 1, of the first t of the student's views. Mean over t * (s - 1) pairs.
    """
    b, num_student, _ = student.shape
    num_teacher = teacher.shape[1]
    log_shares = F.log_softmax(student / temperature, dim=-1)
    # all pairs, less those of a view with itself: one product of sums in place of t * s
    every = (teacher.sum(1) * log_shares.sum(1)).sum()
    own = (teacher * log_shares[:, :num_teacher]).sum()
    return -(every - own) / (b * num_teacher * (num_student - 1))


@torch.no_grad()
@in_full_precision
def centered_shares(
    scores: Float[Tensor, "b t k"], center: Float[Tensor, "k"], temperature: float
) -> Float[Tensor, "b t k"]:
    """The teacher's shares by centering and sharpening (Caron et al., DINO, 2021, section 3.1)."""
    return F.softmax((scores - center) / temperature, dim=-1)


@torch.no_grad()
@in_full_precision
def sinkhorn_shares(scores: Float[Tensor, "b t k"], temperature: float) -> Float[Tensor, "b t k"]:
    """The teacher's shares, balanced over prototypes and all ranks' views (Caron et al., SwAV, 2020, section 3.1)."""
    b, t, _ = scores.shape
    logs = scores.flatten(0, 1) / temperature  # in logarithms: at low temperatures whole columns would be zero
    for _ in range(SINKHORN_ROUNDS):
        largest = largest_over_ranks(logs.amax(0))
        logs = logs - largest - torch.log(sum_over_ranks(torch.exp(logs - largest).sum(0)))
        logs = logs - torch.logsumexp(logs, 1, keepdim=True)
    return torch.exp(logs).unflatten(0, (b, t))


def embedding_spread(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean deviation of the normalised embeddings times sqrt(d): near 1 when spread over the sphere, 0 collapsed."""
    unit = F.normalize(embeddings.float(), dim=-1)
    return unit.std(0).mean() * math.sqrt(unit.shape[1])

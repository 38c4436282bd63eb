"""Losses as pure functions of embeddings, in float32 or better, also under autocast.

Logits are the largest tensors of a step. They are never kept: the gradient makes them a second time, in place, so that
a loss takes two to three times their bytes at its peak, masks and backward included (tests/oracles/test_losses.py).
"""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samclr.methods.loss_arguments import expect_views, in_full_precision
from samclr.methods.ranks import largest_over_ranks, sum_over_ranks

SINKHORN_ROUNDS = 3


@in_full_precision
def nt_xent(
    embeddings: Float[Tensor, "b v d"], temperature: float, image_index: Int[Tensor, "b"] | None = None
) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy (Chen et al., SimCLR, 2020, eq. 1).

    Every embedding in turn is the anchor; its positives are the other views of its row, its negatives all
    views of all other rows. With more than two views the positives' terms are averaged. With `image_index`, other rows
    of the anchor's own image are no negatives.
    """
    expect_views(embeddings)
    b, v, _ = embeddings.shape
    unit = F.normalize(embeddings, dim=-1).flatten(0, 1)
    left_out = torch.eye(b * v, dtype=torch.bool, device=unit.device)
    if image_index is not None:
        row = torch.arange(b, device=unit.device)
        same_image = (image_index[:, None] == image_index[None]) & (row[:, None] != row[None])
        left_out |= same_image.repeat_interleave(v, 0).repeat_interleave(v, 1)
    log_total = _log_sum_exp(unit / temperature, unit, left_out)
    rows = unit.unflatten(0, (b, v))
    same_row = rows @ rows.transpose(1, 2) / temperature
    positives = (same_row.sum(-1) - same_row.diagonal(dim1=1, dim2=2)) / (v - 1)
    return (log_total - positives.flatten()).mean()


@in_full_precision
def region_contrast(
    embeddings: Float[Tensor, "b v r d"],
    keys: Float[Tensor, "b v r d"],
    shown: Bool[Tensor, "b v r"],
    region: Int[Tensor, "b r"],
    temperature: float,
    image_index: Int[Tensor, "b"] | None = None,
) -> Float[Tensor, ""]:
    """Contrast of regions (Hénaff et al., DetCon, 2021, eq. 3): nt_xent over every region that a view shows.

    The embedding of a region in one view is the anchor, the keys of the same region in the row's other views are its
    positives, and those of all other regions in all views its negatives: never its own key, nor that of the same
    region in another row, nor, with `image_index`, those of its own image. DetCon-S has `keys` = `embeddings`, DetCon-B
    those of a momentum encoder. The mean over anchors, which is half of the authors' sum of both directions; 0 where no
    region is in two views.
    """
    expect_views(embeddings, "[b v r d]")
    b, v, r, _ = embeddings.shape
    anchors, keys = F.normalize(embeddings, dim=-1), F.normalize(keys, dim=-1)
    other_view = ~torch.eye(v, dtype=torch.bool, device=shown.device)
    pairs = (shown[:, :, None] & shown[:, None]) & other_view[None, :, :, None]  # [b v v r]
    num_positives = pairs.sum(2)
    alike = torch.einsum("bvrd,bwrd->bvwr", anchors, keys) / temperature
    positives = (alike * pairs).sum(2) / num_positives.clamp(min=1)

    row, view, place = torch.meshgrid(*(torch.arange(size, device=shown.device) for size in (b, v, r)), indexing="ij")
    row, view, identity = row.flatten(), view.flatten(), region[row, place].flatten()
    same_row = row[:, None] == row[None]
    left_out = (identity[:, None] == identity[None]) & ~(same_row & (view[:, None] != view[None]))
    if image_index is not None:
        image = image_index[row]
        left_out |= (image[:, None] == image[None]) & (identity[:, None] != identity[None])
    left_out |= ~shown.flatten()
    is_anchor = (num_positives > 0).flatten()
    left_out &= is_anchor[:, None]  # what is no anchor gets any finite sum
    log_total = _log_sum_exp(anchors.flatten(0, 2) / temperature, keys.flatten(0, 2), left_out)
    terms = torch.where(is_anchor, log_total - positives.flatten(), 0.0)
    return terms.sum() / is_anchor.sum().clamp(min=1)


def _log_sum_exp(
    rows: Float[Tensor, "n d"], columns: Float[Tensor, "m d"], left_out: Bool[Tensor, "n m"] | None
) -> Float[Tensor, "n"]:
    """Of each row's products with all columns but those left out. torch.compile wants two tensors here."""
    log_total: Tensor = _LogSumExp.apply(rows, columns, left_out)
    return log_total


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, columns: Tensor, left_out: Tensor | None) -> Tensor:
        log_total = torch.logsumexp(_logits(rows, columns, left_out), 1)
        ctx.save_for_backward(rows, columns, log_total, left_out)
        return log_total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        rows, columns, log_total, left_out = ctx.saved_tensors
        with torch.autocast(rows.device.type, enabled=False):
            log_total = log_total.clamp(min=torch.finfo(log_total.dtype).min)  # all left out: shares of 0, not NaN
            shares = _logits(rows, columns, left_out).sub_(log_total[:, None]).exp_().mul_(gradient[:, None])
            of_columns = shares.T @ rows if ctx.needs_input_grad[1] else None
            return shares @ columns, of_columns, None


def _logits(rows: Tensor, columns: Tensor, left_out: Tensor | None) -> Tensor:
    logits = rows @ columns.T
    return logits if left_out is None else logits.masked_fill_(left_out, -torch.inf)


@in_full_precision
def queue_contrast(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "n d"],
    queue: Float[Tensor, "q d"],
    temperature: float,
    left_out: Bool[Tensor, "n q"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of a query with its key against a queue of keys on the unit sphere (He et al., MoCo, 2020, eq. 1).

    `left_out`: True where a key of the queue is no negative of a query. A query without any has a term of 0, and no
    gradient.
    """
    queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
    positives = (queries * keys).sum(-1) / temperature
    log_negatives = _log_sum_exp(queries / temperature, queue.to(queries.dtype), left_out)
    return (torch.logaddexp(positives, log_negatives) - positives).mean()


@in_full_precision
def self_distillation(
    student: Float[Tensor, "b s k"], teacher: Float[Tensor, "b t k"], temperature: float
) -> Float[Tensor, ""]:
    """Cross entropy of each student view with the teacher's shares of each other view (Caron et al., 2021, eq. 3).

    student: scores. teacher: shares that sum to 1, of the first t of the student's views. Mean over t * (s - 1) pairs.
    """
    expect_views(student, "[b s k]", "student scores")
    loss: Tensor = _SelfDistillation.apply(student, teacher, temperature)
    return loss


class _SelfDistillation(torch.autograd.Function):
    """All pairs of teacher and student views, less those of a view with itself."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        b, num_student, _ = student.shape
        num_teacher = teacher.shape[1]
        log_total = torch.logsumexp(student / temperature, -1)
        targets = teacher.sum(1, keepdim=True)
        every = num_teacher * log_total.sum() - (targets @ student.transpose(1, 2)).sum() / temperature
        products = torch.linalg.vecdot(teacher, student[:, :num_teacher])
        own = log_total[:, :num_teacher].sum() - products.sum() / temperature
        ctx.save_for_backward(student, teacher, log_total)
        ctx.temperature = temperature
        return (every - own) / (b * num_teacher * (num_student - 1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        student, teacher, log_total = ctx.saved_tensors  # no product here that autocast could take to half precision
        b, num_student, _ = student.shape
        num_teacher = teacher.shape[1]
        shares = (student / ctx.temperature).sub_(log_total[..., None]).exp_()
        shares[:, :num_teacher] *= num_teacher - 1
        shares[:, num_teacher:] *= num_teacher
        shares -= teacher.sum(1, keepdim=True)
        shares[:, :num_teacher] += teacher
        return shares.mul_(gradient / (ctx.temperature * b * num_teacher * (num_student - 1))), None, None


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
    """The teacher's shares, balanced over prototypes and all ranks' views (Caron et al., SwAV, 2020, section 3.1).

    Ranks may have different numbers of views, or none.
    """
    b, t, _ = scores.shape
    logs = scores.flatten(0, 1) / temperature  # in logarithms: at low temperatures whole columns would be zero
    for _ in range(SINKHORN_ROUNDS):
        largest = largest_over_ranks(logs.amax(0) if len(logs) else logs.new_full(logs.shape[1:], -torch.inf))
        logs = logs - largest - torch.log(sum_over_ranks(torch.exp(logs - largest).sum(0)))
        logs = logs - torch.logsumexp(logs, 1, keepdim=True)
    return torch.exp(logs).unflatten(0, (b, t))


@in_full_precision
def negative_cosine(predictions: Float[Tensor, "b v d"], targets: Float[Tensor, "b v d"]) -> Float[Tensor, ""]:
    """Mean of -cos(prediction of a view, target of another view of its row); targets get no gradient.

    With two views D(p1, z2) / 2 + D(p2, z1) / 2 (Chen and He, SimSiam, 2021, eq. 1 and 2). BYOL's loss (Grill et al.,
    2020, eq. 2, both directions) is 4 + 4 times this.
    """
    expect_views(predictions, name="predictions")
    v = predictions.shape[1]
    predictions, targets = F.normalize(predictions, dim=-1), F.normalize(targets.detach(), dim=-1)
    of_other_views = targets.sum(1, keepdim=True) - targets
    return -(predictions * of_other_views).sum((1, 2)).mean() / (v * (v - 1))


@in_full_precision
def cross_correlation(embeddings: Float[Tensor, "b v d"], redundancy_weight: float) -> Float[Tensor, ""]:
    """Squared distance of two views' cross-correlation C from the identity (Zbontar et al., Barlow Twins, 2021, eq. 1).

    sum_i (1 - C_ii)^2 + redundancy_weight * sum_i sum_{j != i} C_ij^2, where C correlates the dimensions of the first
    view with those of the second over the rows (eq. 2; 1e-5 is added to each variance). Mean over pairs of views.
    """
    expect_views(embeddings, num_rows=2)
    centred = embeddings - embeddings.mean(0)
    unit = centred / torch.sqrt(centred.square().mean(0) + 1e-5)
    terms = []
    for first, second in itertools.combinations(unit.unbind(1), 2):
        correlation = first.T @ second / len(first)
        invariance = (1 - correlation.diagonal()).square().sum()
        terms.append(invariance + redundancy_weight * _off_diagonal_squares(correlation))
    return torch.stack(terms).mean()


@in_full_precision
def variance_invariance_covariance(
    embeddings: Float[Tensor, "b v d"], invariance_weight: float, variance_weight: float, covariance_weight: float
) -> dict[str, Float[Tensor, ""]]:
    """The three terms of VICReg, weighted, and their sum `loss` (Bardes et al., 2022, eq. 1 to 6, as in their code).

    invariance: mean squared difference of two views. variance: mean over dimensions of max(0, 1 - deviation), mean of
    both views. covariance: squared covariances of different dimensions over d, sum of both views. Statistics are those
    of the rows; 1e-4 is added to each variance. Mean over pairs of views.
    """
    expect_views(embeddings, num_rows=2)
    b, _, d = embeddings.shape
    pairs = itertools.combinations(embeddings.unbind(1), 2)
    centred = embeddings - embeddings.mean(0)
    deviation = torch.sqrt(centred.square().sum(0) / (b - 1) + 1e-4)
    by_view = centred.transpose(0, 1)
    covariances = by_view.transpose(1, 2) @ by_view / (b - 1)
    terms = {
        "invariance": invariance_weight * torch.stack([F.mse_loss(*pair) for pair in pairs]).mean(),
        "variance": variance_weight * F.relu(1 - deviation).mean(),
        "covariance": covariance_weight * 2 * _off_diagonal_squares(covariances).mean() / d,
    }
    return terms | {"loss": torch.stack(list(terms.values())).sum()}


def _off_diagonal_squares(matrices: Float[Tensor, "*v d d"]) -> Float[Tensor, "*v"]:
    """Sum of squares beside the diagonal."""
    diagonal = torch.eye(matrices.shape[-1], dtype=torch.bool, device=matrices.device)
    return matrices.masked_fill(diagonal, 0.0).square().sum((-2, -1))


def embedding_spread(embeddings: Float[Tensor, "n d"], counted: Bool[Tensor, "n"] | None = None) -> Float[Tensor, ""]:
    """Mean deviation of the normalised embeddings times sqrt(d): near 1 when spread over the sphere, 0 collapsed.

    counted: which of them there are; all by default. NaN of fewer than two.
    """
    unit = F.normalize(embeddings.float(), dim=-1)
    if counted is None:
        return unit.std(0).mean() * math.sqrt(unit.shape[1])
    weights, number = counted[:, None].float(), counted.sum()
    mean = (weights * unit).sum(0) / number
    variance = (weights * (unit - mean).square()).sum(0) / (number - 1)
    return variance.sqrt().mean() * math.sqrt(unit.shape[1])

"""What ranks of one training run tell each other. With one rank everything is itself."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor


def num_ranks() -> int:
    """Ranks that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_rank() -> int:
    """Which of them this is."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather(rows: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "m ..."]:
    """Rows of all ranks in the order of ranks, which is that of the global batch. No gradient."""
    if num_ranks() == 1:
        return rows.detach()
    parts = [torch.empty_like(rows) for _ in range(num_ranks())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)


def gather_with_gradient(rows: Float[Tensor, "n ..."]) -> Float[Tensor, "m ..."]:
    """As `gather`, with the gradient of the sum of all ranks' losses.

    When every rank computes the loss of the whole batch, that gradient is the number of ranks times the true one;
    data-parallel training divides it by as many when it averages over ranks.
    """
    return rows if num_ranks() == 1 else _Gather.apply(rows)


def sum_over_ranks(value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The sum of one tensor over all ranks. No gradient."""
    total = value.detach().clone()
    if num_ranks() > 1:
        dist.all_reduce(total)
    return total


def largest_over_ranks(value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The largest of one tensor over all ranks, element by element. No gradient."""
    largest = value.detach().clone()
    if num_ranks() > 1:
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


def mean_over_ranks(values: Sequence[Float[Tensor, ""]]) -> list[float]:
    """Means of scalars over all ranks, fetched from the device at once."""
    if not values:
        return []
    return (sum_over_ranks(torch.stack([v.detach().float() for v in values])) / num_ranks()).tolist()


def leave_ranks() -> None:
    """Take leave of the other ranks; without it gloo's threads abort some processes at their end."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        context.first, context.count = dist.get_rank() * len(rows), len(rows)
        return gather(rows)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = sum_over_ranks(gradient.contiguous())
        return total[context.first : context.first + context.count]

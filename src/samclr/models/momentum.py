"""Momentum copies: a second set of weights that follows the trained one slowly (He et al., MoCo, 2020)."""

import copy
from typing import TypeVar

import torch
from torch import nn

from samclr.models.schedules import cosine

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def momentum_copy(module: AnyModule) -> AnyModule:
    """A copy of a module that no optimiser touches."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(momentum_module: nn.Module, online_module: nn.Module, momentum: float) -> None:
    """Move every parameter to momentum * itself + (1 - momentum) * the online one. Buffers are the copy's own."""
    torch._foreach_lerp_(
        list(momentum_module.parameters()), [p.detach() for p in online_module.parameters()], 1 - momentum
    )


def scheduled_momentum(start: float, end: float | None, step: int, num_steps: int) -> float:
    """`start` throughout, or on a cosine from `start` at the first step to `end` at the last."""
    if end is None:
        return start
    return cosine(start, end, step / max(num_steps, 1))

"""Momentum copies: a second set of weights that follows the trained one slowly (He et al., MoCo, 2020).

The momentum encoder of a method takes part in its loss. An average takes part in nothing: it is the mean of the
backbone's weights over the last steps (Polyak and Juditsky, 1992, exponentially weighted), to be used after training.
"""

import copy
from typing import TypeVar

import torch
from torch import nn

from samclr.models.schedules import cosine

AVERAGE = "average"  # a method's part that is the average of its backbone, where there is one
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


@torch.no_grad()
def average(mean: nn.Module, online_module: nn.Module, decay: float) -> None:
    """Move parameters and statistics of batch norm to decay * themselves + (1 - decay) * the online ones; copy counts.

    As timm.utils.ModelEmaV3 does. The statistics are averaged, too, since nothing passes through an average while
    training.
    """
    ours, theirs = mean.state_dict(keep_vars=True), online_module.state_dict()
    once = {id(value): name for name, value in ours.items()}.values()  # layers may share a parameter: one name of each
    moving = [name for name in once if ours[name].is_floating_point()]
    torch._foreach_lerp_([ours[name] for name in moving], [theirs[name] for name in moving], 1 - decay)
    for name in set(once) - set(moving):
        ours[name].copy_(theirs[name])


def scheduled_momentum(start: float, end: float | None, step: int, num_steps: int) -> float:
    """`start` throughout, or on a cosine from `start` at the first step to `end` at the last."""
    if end is None:
        return start
    return cosine(start, end, step / max(num_steps, 1))

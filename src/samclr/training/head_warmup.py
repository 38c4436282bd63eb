"""The first steps of a run that begins with trained weights: the heads, which are new, learn alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from samclr.config.pretrain import OptimConfig
from samclr.methods.create import backbone_of, backbones_of
from samclr.models.freeze import statistics_kept


@contextmanager
def head_alone(method: nn.Module, step: int, config: OptimConfig) -> Iterator[None]:
    """Around the backward pass of a step. While the heads warm up, it leaves the backbone no gradient, so that the
    optimiser passes it by, and batch norms no memory of the batch; they normalise by it as they will afterwards."""
    if step >= config.head_warmup_steps:
        yield
        return
    with statistics_kept(backbones_of(method)):
        yield
    for parameter in backbone_of(method).parameters():
        parameter.grad = None

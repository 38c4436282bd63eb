"""What does not learn: frozen groups of layers, and a backbone that waits while the heads above it warm up."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn

from samclr.errors import ConfigError
from samclr.models.layer_groups import ABOVE, layer_groups, name_of


def freeze(backbone: nn.Module, groups: int | Literal["all"]) -> None:
    """Freeze the first groups of layers, none of 0, in place, or all layers. What is frozen is in evaluation mode.

    Raises:
        ConfigError: the backbone has no groups, or fewer.
    """
    if groups == "all":
        backbone.requires_grad_(False)
    elif groups:
        numbers = layer_groups(backbone, "freeze")
        count = 1 + max(number for name, number in numbers.items() if name != ABOVE)
        if groups > count:
            raise ConfigError(
                f"freeze is {groups}; {name_of(backbone)} has {count} groups of layers; expected from 0 to {count}, "
                f"or all",
                "freeze",
            )
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(numbers[name] >= groups)
    if groups:
        evaluate_frozen(backbone)


def freeze_norm(backbone: nn.Module, what: Literal["none", "statistics", "all"]) -> None:
    """Put batch norm into evaluation mode, in place; with `all` its scale and shift do not learn either."""
    if what == "none":
        return
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            if what == "all":
                module.requires_grad_(False)


def evaluate_frozen(backbone: nn.Module) -> None:
    """Put each module whose parameters are all frozen, and its parts, into evaluation mode: batch norm, drop path."""
    for module in backbone.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Afterwards each part is in the mode, training or evaluation, that it was in: frozen parts stay as they are."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, was_training in modes:
            part.training = was_training


@contextmanager
def statistics_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Batch norms in training mode normalise by the batch but remember nothing of it."""
    parts = [part for module in modules for part in module.modules()]
    norms = [m for m in parts if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    counts = [None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)

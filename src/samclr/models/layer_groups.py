"""Groups of a backbone's layers, from its input on, counted as timm counts them for layer-wise learning rates."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from timm.models._manipulate import group_with_matcher
from torch import nn

from samclr.errors import ConfigError
from samclr.log import option_of

ABOVE = "head of samclr"  # no layer of a backbone has such a name, so timm takes it for what follows them


def layer_groups(backbone: nn.Module, setting: str) -> dict[str, int]:
    """The group of each parameter by its name, 0 at the input, and that of the heads above under the name ABOVE.

    They are the groups that timm.optim.param_groups_layer_decay gives the same model with a classifier. Adapters of
    LoRA are in the group of their layer.

    setting: that needs groups, for the error.

    Raises:
        ConfigError: the backbone has no groups.
    """
    matcher: Any = getattr(backbone, "group_matcher", None)
    found: dict[str, int] = {}
    if matcher is not None:
        named: Iterator[tuple[str, Any]] = chain(backbone.named_parameters(), [(ABOVE, None)])
        found = group_with_matcher(named, matcher(coarse=False), reverse=True)
    if len({number for name, number in found.items() if name != ABOVE}) < 2:
        raise ConfigError(
            f"{name_of(backbone)} has no groups of layers, which {option_of(setting)} counts; leave it out, or name "
            f"another backbone",
            setting,
        )
    return found


def name_of(backbone: nn.Module) -> str:
    """The name that a user knows the backbone by."""
    return str(getattr(getattr(backbone, "input_sizes", None), "name", type(backbone).__name__))

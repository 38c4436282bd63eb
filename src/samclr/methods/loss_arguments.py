"""What losses do with their arguments before any arithmetic: precision, and checks that name what was given."""

import functools
import inspect
import numbers
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from samclr.errors import ConfigError


def in_full_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function without autocast, its half-precision tensors raised to float32; see that a temperature is one."""

    place = [*inspect.signature(function).parameters, "temperature"].index("temperature")

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        temperature = options.get("temperature", arguments[place] if place < len(arguments) else 1.0)
        is_number = isinstance(temperature, (numbers.Real, Tensor))
        if not is_number or not temperature > 0:
            raise ConfigError(f"temperature is {temperature!r}; expected a number over 0", "temperature")
        tensors = [given for given in (*arguments, *options.values()) if isinstance(given, Tensor)]
        with torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False):
            return function(*map(_raised, arguments), **{name: _raised(given) for name, given in options.items()})

    return wrapped


def _raised(given: Any) -> Any:
    return given.float() if isinstance(given, Tensor) and given.dtype in (torch.float16, torch.bfloat16) else given


def expect_views(embeddings: Tensor, shape: str = "[b v d]", name: str = "embeddings", num_rows: int = 1) -> None:
    """See that there are pairs of views, and rows enough for statistics.

    Raises:
        ConfigError: there are other dimensions than those of `shape`, fewer than two views (its v), or fewer rows.
    """
    sizes = embeddings.shape
    if len(sizes) != len(shape.split()) or sizes[1] < 2 or sizes[0] < num_rows:
        given, rows = " ".join(map(str, sizes)), "two rows and " if num_rows == 2 else ""
        raise ConfigError(f"{name} are [{given}]; expected {rows}two views or more, {shape}")

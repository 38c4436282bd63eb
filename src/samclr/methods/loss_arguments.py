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
        if not isinstance(temperature, (float, numbers.Real, Tensor)) or not temperature > 0:
            raise ConfigError(f"temperature is {temperature!r}; expected a number over 0", "temperature")
        tensors = [given for given in (*arguments, *options.values()) if isinstance(given, Tensor)]
        with torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False):
            return function(*map(_raised, arguments), **{name: _raised(given) for name, given in options.items()})

    return wrapped


def _raised(given: Any) -> Any:
    return given.float() if isinstance(given, Tensor) and given.dtype in (torch.float16, torch.bfloat16) else given

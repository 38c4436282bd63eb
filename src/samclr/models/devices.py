"""The choice of a device by its name, random numbers that are seeded on it, and the way of small tables to it."""

import os
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from samclr.config.devices import check_device
from samclr.errors import UsageError
from samclr.log import option_of


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name. Auto is CUDA (under torchrun the local rank's own) or MPS where there is one, else the CPU.

    Raises:
        ConfigError: it is not the name of a device.
        UsageError: the device cannot be used here.
    """
    check_device(name)
    chosen = _automatic() if name == "auto" else name
    try:
        device = torch.device(chosen)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(
            f"device {name!r} cannot be used ({first}); try {option_of('device')} cpu or {option_of('device')} auto"
        ) from None
    return device


def own_draws(device: torch.device) -> AbstractContextManager[None]:
    """What is seeded inside ends with it: the caller's own draws go on as if there had been none."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def upload(table: np.ndarray, device: torch.device) -> Tensor:
    """A copy on the device; nothing waits for it.

    From memory that is not pinned CUDA would first finish all that it was given.
    """
    host = torch.from_numpy(np.ascontiguousarray(table))
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def _automatic() -> str:
    if torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"

"""Device and precision of a computation: the same words in every command."""

import re
from typing import Literal

from samclr.errors import ConfigError

Precision = Literal["float32", "bfloat16", "float16"]
TrainingPrecision = Literal["float32", "bfloat16", "float16", "bfloat16-true", "float16-true", "float64"]
OLD_DEVICES = {"gpu": "cuda"}  # of 0.1, as in Lightning Fabric
OLD_PRECISIONS = {
    "32-true": "float32",
    "bf16-mixed": "bfloat16",
    "16-mixed": "float16",
    "bf16-true": "bfloat16-true",
    "16-true": "float16-true",
    "64-true": "float64",
}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,4})?")


def check_device(device: str) -> None:
    """Raise ConfigError if this is not the name of a device."""
    if not _DEVICE.fullmatch(device):
        raise ConfigError(f"device is {device!r}; expected auto, cpu, cuda, cuda:NUMBER or mps", "device")

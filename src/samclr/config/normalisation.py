"""The mean and deviation by which a backbone's input is normalised. Nothing here imports torch or numpy."""

import math
from dataclasses import dataclass
from typing import Any

from samclr.errors import ConfigError

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """What a backbone's input goes through: (value - mean) / std of red, green and blue, values from 0 to 1.

    Raises:
        ConfigError: not three finite numbers each, or a deviation that is not over 0.
    """

    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            try:
                values = tuple(float(value) for value in getattr(self, name))
            except (TypeError, ValueError, OverflowError):
                values = ()
            if len(values) != 3 or not all(map(math.isfinite, values)) or (name == "std" and min(values) <= 0):
                expected = "three finite numbers" + (" over 0" if name == "std" else "") + ", of red, green and blue"
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {expected}, for values from 0 to 1")
            object.__setattr__(self, name, values)

    def __call__(self, pixels: Any) -> Any:
        """Normalise a torch tensor [... 3 h w] of values from 0 to 1."""
        mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std

    def __str__(self) -> str:
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"mean {mean}, std {std}"


IMAGENET = Normalisation()
UNCHANGED = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def normalisation_of(backbone: Any) -> Normalisation:
    """The backbone's attribute `normalisation`, which every backbone of samclr has.

    Raises:
        ConfigError: it has none.
    """
    found = getattr(backbone, "normalisation", None)
    if not isinstance(found, Normalisation):
        raise ConfigError(
            f"{type(backbone).__name__} does not say how its input is normalised: give it the attribute "
            f"normalisation, a samclr.config.normalisation.Normalisation(mean, std)"
        )
    return found

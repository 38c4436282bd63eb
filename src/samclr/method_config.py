"""Settings of the methods: each method's own, and those of the momentum copies that two of them keep."""

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Suppress

from samclr.errors import ConfigError

SameImage = Literal["keep", "ignore"]


@dataclass(frozen=True, kw_only=True)
class SimclrConfig:
    """SimCLR's own settings.

    Attributes:
        same_image_negatives: with several regions per image: keep other regions of one image as negatives, or ignore.
    """

    name: Suppress[Literal["simclr"]] = "simclr"
    same_image_negatives: SameImage = "keep"


@dataclass(frozen=True, kw_only=True)
class MocoConfig:
    """MoCo's own settings.

    Attributes:
        queue_size: keys kept as negatives.
        symmetric: both views are queries in turn; else the first view alone, as in MoCo v1 and v2.
        key_splits: shuffled parts in which keys are encoded, so that batch norm cannot leak which key is whose
            on one device; 1 encodes them together.
        ema_momentum: share that the momentum encoder keeps at a step.
        ema_momentum_end: where a cosine schedule takes it; None keeps it constant.
        same_image_negatives: keep keys of the query's own image as negatives, or ignore them.
    """

    name: Suppress[Literal["moco"]] = "moco"
    queue_size: int = 4096
    symmetric: bool = True
    key_splits: int = 1
    ema_momentum: float = 0.99
    ema_momentum_end: float | None = None
    same_image_negatives: SameImage = "keep"

    def __post_init__(self) -> None:
        _check_momentum(self.ema_momentum, self.ema_momentum_end)
        if self.queue_size < 1 or self.key_splits < 1:
            raise ConfigError("queue_size and key_splits must be at least 1")


@dataclass(frozen=True, kw_only=True)
class DinoConfig:
    """DINO's own settings. `--temperature` is the student's.

    Attributes:
        num_prototypes: outputs of the head.
        teacher_temperature: after its warm-up.
        teacher_temperature_start: at the first step.
        teacher_temperature_steps: steps of its linear warm-up.
        centering: center = subtract a running mean; sinkhorn = balance prototypes over the batch.
        center_momentum: share of the center that a step keeps.
        freeze_steps: steps at the start in which the prototypes stay as they are.
        ema_momentum: share that the teacher keeps at a step.
        ema_momentum_end: where a cosine schedule takes it; None keeps it constant.
    """

    name: Suppress[Literal["dino"]] = "dino"
    num_prototypes: int = 2048
    teacher_temperature: float = 0.04
    teacher_temperature_start: float = 0.04
    teacher_temperature_steps: int = 0
    centering: Literal["center", "sinkhorn"] = "center"
    center_momentum: float = 0.9
    freeze_steps: int = 0
    ema_momentum: float = 0.99
    ema_momentum_end: float | None = None

    def __post_init__(self) -> None:
        _check_momentum(self.ema_momentum, self.ema_momentum_end)
        _check_momentum(self.center_momentum, None)
        if min(self.teacher_temperature, self.teacher_temperature_start) <= 0:
            raise ConfigError("teacher_temperature and teacher_temperature_start must be over 0")
        if self.num_prototypes < 2:
            raise ConfigError(f"num_prototypes is {self.num_prototypes}; expected at least 2")


MethodConfig = SimclrConfig | MocoConfig | DinoConfig


def _check_momentum(start: float, end: float | None) -> None:
    for value in (start, start if end is None else end):
        if not 0 <= value <= 1:
            raise ConfigError(f"a momentum is {value}; expected a share from 0 to 1")

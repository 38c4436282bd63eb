"""Settings of the methods: each method's own, and those of the momentum copies that two of them keep."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Suppress

from samclr.settings import Bounds, CountsWith, Settings, Share, StepsOrZero, Temperature

SameImage = Literal["keep", "ignore"]


@dataclass(frozen=True, kw_only=True)
class SimclrConfig(Settings):
    """SimCLR's own settings.

    Attributes:
        same_image_negatives: with several regions per image: keep other regions of one image as negatives, or ignore.
    """

    name: Suppress[Literal["simclr"]] = "simclr"
    same_image_negatives: SameImage = "keep"


@dataclass(frozen=True, kw_only=True)
class MocoConfig(Settings):
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
    queue_size: Annotated[int, Bounds(at_least=1, at_most=2**20)] = 4096
    symmetric: bool = True
    key_splits: Annotated[int, Bounds(at_least=1, at_most=65_536)] = 1
    ema_momentum: Share = 0.99
    ema_momentum_end: Share | None = None
    same_image_negatives: SameImage = "keep"


@dataclass(frozen=True, kw_only=True)
class DinoConfig(Settings):
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
    num_prototypes: Annotated[int, Bounds(at_least=2, at_most=2**18)] = 2048
    teacher_temperature: Temperature = 0.04
    teacher_temperature_start: Annotated[Temperature, CountsWith("teacher_temperature_steps")] = 0.04
    teacher_temperature_steps: StepsOrZero = 0
    centering: Literal["center", "sinkhorn"] = "center"
    center_momentum: Annotated[Share, CountsWith("centering", ("center",))] = 0.9
    freeze_steps: StepsOrZero = 0
    ema_momentum: Share = 0.99
    ema_momentum_end: Share | None = None


MethodConfig = SimclrConfig | MocoConfig | DinoConfig

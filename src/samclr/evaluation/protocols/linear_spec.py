"""The linear probe on cached features: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import BatchSize, Bounds, CountsWith, Epochs, Rate, Seed


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(ProtocolConfig):
    """Linear probe on cached features.

    Attributes:
        skip_linear: Skip the linear probe.
        probe_epochs: Epochs of SGD with a cosine schedule.
        probe_batch_size: Features per step.
        probe_lr: Learning rate of SGD for a batch of 256; scaled with the batch size.
        probe_sweep: Learning rates to choose among on a held-out fifth of the training split; the probe is then
            trained on all of it. None by default: probe_lr is used.
        probe_seed: Seed for the order of the features and for what is held out.
    """

    name: ClassVar[str] = "linear"

    skip_linear: bool = False
    probe_epochs: Epochs = 90
    probe_batch_size: BatchSize = 256
    probe_lr: Annotated[Rate, CountsWith("probe_sweep", ((),))] = 0.1
    probe_sweep: Annotated[tuple[float, ...], Bounds(over=0, at_most=1e6)] = ()
    probe_seed: Seed = 0

    @property
    def is_asked(self) -> bool:
        """Unless it is skipped."""
        return not self.skip_linear


# Of every protocol with epochs: the last is the result; the best is chosen by what it is measured on, hence optimistic.
TRAINED_MEASURES = {
    "top1_last": "top-1",
    "top5_last": "top-5",
    "top1_best": "top-1, best epoch",
    "top5_best": "top-5, best epoch",
}

SPEC = ProtocolSpec(
    title="linear",
    config=ProbeConfig,
    build="samclr.evaluation.protocols.linear:build",
    measures=TRAINED_MEASURES,
    shown=(
        Shown(measure="top1_last", title="linear"),
        Shown(measure="top1_best", title="linear, best epoch"),
    ),
    prefix="probe_",
    per_class="per_class_accuracy",
    order=20,
)

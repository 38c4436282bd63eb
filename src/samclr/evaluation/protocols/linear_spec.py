"""The linear probe on cached features: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import Bounds, Count, Rate, Seed


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(ProtocolConfig):
    """Linear probe on cached features.

    Attributes:
        skip_linear: do not run it.
        probe_epochs: epochs of SGD with cosine.
        probe_batch_size: features a step.
        probe_lr: SGD's learning rate for a batch of 256; scaled with the batch.
        probe_sweep: learning rates to choose among on a fifth of the training split, held out; the probe is then
            trained on all of it. None by default: probe_lr is taken.
        probe_seed: order of the features, and what is held out.
    """

    name: ClassVar[str] = "linear"

    skip_linear: bool = False
    probe_epochs: Count = 90
    probe_batch_size: Count = 256
    probe_lr: Rate = 0.1
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

"""Fine-tuning: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import Bounds, Count, PositiveShare, Rate, Seed, Side
from samclr.evaluation.protocols.linear_spec import TRAINED_MEASURES


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(ProtocolConfig):
    """All weights trained on, from the backbone's, with crops and flips as in the paper's probe.

    Attributes:
        fine_tune: run it; a copy of the backbone is trained, the run keeps its own.
        tune_epochs: epochs.
        tune_batch_size: images a step.
        tune_backbone_lr: learning rate of the backbone for a batch of 256; scaled with the batch.
        tune_head_lr: likewise of the classifier.
        tune_weight_decay: on all weights.
        tune_px: side of a crop, and of the test images.
        tune_min_scale: least share of the image that a crop covers; the largest is all of it.
        tune_seed: of order, crops and flips.
    """

    name: ClassVar[str] = "fine_tune"
    sides: ClassVar[tuple[str, ...]] = ("tune_px",)

    fine_tune: bool = False
    tune_epochs: Count = 30
    tune_batch_size: Count = 128
    tune_backbone_lr: Rate = 0.02
    tune_head_lr: Rate = 0.2
    tune_weight_decay: Annotated[float, Bounds(at_least=0, at_most=1000)] = 1e-4
    tune_px: Side = 128
    tune_min_scale: PositiveShare = 0.08
    tune_seed: Seed = 0

    @property
    def is_asked(self) -> bool:
        """Only by name: it is dear."""
        return self.fine_tune


SPEC = ProtocolSpec(
    title="fine-tuning",
    config=FineTuneConfig,
    build="samclr.evaluation.protocols.fine_tune:build",
    measures=TRAINED_MEASURES,
    shown=(
        Shown(measure="top1_last", title="fine-tuned"),
        Shown(measure="top1_best", title="fine-tuned, best epoch"),
    ),
    prefix="tune_",
    order=50,
)

"""Fine-tuning: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import BatchSize, Bounds, Epochs, InputSide, PositiveShare, Rate, Seed
from samclr.evaluation.protocols.linear_spec import TRAINED_MEASURES


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(ProtocolConfig):
    """Fine-tuning: all weights are trained, with crops and flips as in the paper's probe.

    Attributes:
        fine_tune: Run fine-tuning; a copy of the backbone is trained, the run keeps its own.
        tune_epochs: Epochs of fine-tuning.
        tune_batch_size: Images per step.
        tune_backbone_lr: Learning rate of the backbone for a batch of 256; scaled with the batch size.
        tune_head_lr: Learning rate of the classifier, scaled likewise.
        tune_weight_decay: Weight decay on all weights.
        tune_px: Side of the crops and of the test images, in px.
        tune_min_scale: Smallest share of the image that a crop covers; the largest is the whole image.
        tune_seed: Seed for order, crops, flips and random layers.
    """

    name: ClassVar[str] = "fine_tune"
    sides: ClassVar[tuple[str, ...]] = ("tune_px",)

    fine_tune: bool = False
    tune_epochs: Epochs = 30
    tune_batch_size: BatchSize = 128
    tune_backbone_lr: Rate = 0.02
    tune_head_lr: Rate = 0.2
    tune_weight_decay: Annotated[float, Bounds(at_least=0, at_most=1000)] = 1e-4
    tune_px: InputSide = 128
    tune_min_scale: PositiveShare = 0.08
    tune_seed: Seed = 0

    @property
    def is_asked(self) -> bool:
        """Only where it is asked for: it is expensive."""
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
    switch="fine_tune",
    order=50,
)

"""Linear segmentation at the papers' settings: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import BatchSize, Bounds, Count, Epochs, InputSide, NotNegative, PositiveShare, Rate, Seed


@dataclass(frozen=True, kw_only=True)
class SegmentLinearConfig(ProtocolConfig):
    """A 1x1 convolution trained on crops of images, at the settings of Leopart, CrOC and NeCo.

    Attributes:
        segment_linear: Run linear segmentation at the papers' settings.
        segment_px: Side of the squares that images are cropped or resized to, in px; rounded down to whole patches.
        segment_mask_px: Side of the label maps that are trained on, in px.
        segment_stage: Which feature map, from 0; by default the last.
        segment_epochs: Epochs of SGD (momentum 0.9).
        segment_batch_size: Images per step; a last batch of fewer is left out.
        segment_lr: Learning rate.
        segment_drop_epochs: Epochs after which the rate is divided by ten, again and again.
        segment_weight_decay: Weight decay.
        segment_min_scale: Smallest share of the image that a crop covers; the largest is the whole image.
        segment_num_train: Size of a seeded random subset of the training images; None takes all.
        segment_num_test: Size of a seeded random subset of the test images; None takes all.
        segment_seed: Seed for weights, subsets, order, crops and flips.
    """

    name: ClassVar[str] = "segment_linear"

    segment_linear: bool = False
    segment_px: InputSide = 448
    segment_mask_px: InputSide = 100
    segment_stage: Annotated[int, Bounds(at_least=0, at_most=1000)] | None = None
    segment_epochs: Epochs = 25
    segment_batch_size: BatchSize = 128
    segment_lr: Rate = 0.01
    segment_drop_epochs: Epochs = 20
    segment_weight_decay: NotNegative = 1e-4
    segment_min_scale: PositiveShare = 0.8
    segment_num_train: Count | None = None
    segment_num_test: Count | None = None
    segment_seed: Seed = 0

    @property
    def is_asked(self) -> bool:
        """Only where it is asked for: it is expensive."""
        return self.segment_linear


SPEC = ProtocolSpec(
    title="1x1 convolution",
    config=SegmentLinearConfig,
    build="samclr.evaluation.protocols.segment_linear:build",
    measures={
        "miou": "mIoU", "pixel_accuracy": "pixels",
        "miou_full_size": "mIoU, full size", "miou_mask_size": "mIoU, small masks",
    },
    shown=(
        Shown(measure="miou", title="mIoU, 1x1 convolution"),
        Shown(measure="miou_full_size", title="mIoU, 1x1 convolution, full size"),
    ),
    prefix="segment_",
    switch="segment_linear",
    kind="dense",
    per_class="per_class_iou",
    side="segment_px",
    told={"segment_epochs": "epochs", "segment_lr": "rate"},
    order=70,
)  # fmt: skip

"""The paper's linear probe, on crops: settings and titles."""

from dataclasses import dataclass
from typing import ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import BatchSize, Epochs, InputSide, PositiveShare, Rate, Seed
from samclr.evaluation.protocols.linear_spec import TRAINED_MEASURES


@dataclass(frozen=True, kw_only=True)
class CropProbeConfig(ProtocolConfig):
    """The paper's linear probe: a frozen backbone, random resized crops and flips, SGD with cosine.

    Attributes:
        crop_probe: Run this probe; it costs crop_epochs passes of the training split through the backbone.
        crop_epochs: Epochs of the probe on crops.
        crop_batch_size: Images per step.
        crop_lr: Learning rate for a batch of 256; scaled with the batch size.
        crop_px: Side of the crops and of the test images, in px.
        crop_min_scale: Smallest share of the image that a crop covers; the largest is the whole image.
        crop_seed: Seed for order, crops and flips.
    """

    name: ClassVar[str] = "crop_probe"
    sides: ClassVar[tuple[str, ...]] = ("crop_px",)

    crop_probe: bool = False
    crop_epochs: Epochs = 90
    crop_batch_size: BatchSize = 128
    crop_lr: Rate = 0.1
    crop_px: InputSide = 128
    crop_min_scale: PositiveShare = 0.08
    crop_seed: Seed = 0

    @property
    def is_asked(self) -> bool:
        """Only where it is asked for: it is expensive."""
        return self.crop_probe


SPEC = ProtocolSpec(
    title="linear on crops",
    config=CropProbeConfig,
    build="samclr.evaluation.protocols.crop_probe:build",
    measures=TRAINED_MEASURES,
    shown=(
        Shown(measure="top1_last", title="linear on crops"),
        Shown(measure="top1_best", title="linear on crops, best epoch"),
    ),
    prefix="crop_",
    switch="crop_probe",
    order=40,
)

"""Dense tasks on frozen patch features: settings and titles."""

from dataclasses import dataclass
from typing import ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import Count, CountOrZero, Rate, Seed, Side, Temperature
from samclr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DenseConfig(ProtocolConfig):
    """Segmentation by frozen patch features: a linear probe, and labels taken over from the nearest patches.

    Attributes:
        dense_px: images are resized to this on the shorter side (then to whole patches); labels never are.
        dense_stage: which feature map, from 0; by default the last. ResNets: 0 stem, 1 to 4; ViTs: a block.
        dense_num_train: take a seeded random subset of the training images; None takes all.
        dense_num_test: likewise of the test images.
        dense_steps: steps of the probe's SGD (momentum 0.9, no weight decay, cosine to zero).
        dense_batch_size: patches a step.
        dense_lr: learning rate, on standardised features.
        dense_seed: of subsets, order and memory.
        dense_memory: training patches to look among.
        dense_k: neighbours whose labels are taken over.
        dense_temperature: a neighbour weighs exp(cosine similarity / dense_temperature).
    """

    name: ClassVar[str] = "dense"

    dense_px: Side = 360
    dense_stage: CountOrZero | None = None
    dense_num_train: Count | None = None
    dense_num_test: Count | None = None
    dense_steps: Count = 2000
    dense_batch_size: Count = 1024
    dense_lr: Rate = 0.1
    dense_seed: Seed = 0
    dense_memory: Count = 20_480
    dense_k: Count = 30
    dense_temperature: Temperature = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dense_k > self.dense_memory:
            raise ConfigError(
                f"dense_k is {self.dense_k}; expected at most dense_memory, {self.dense_memory}", "dense_k"
            )


SPEC = ProtocolSpec(
    title="patches",
    config=DenseConfig,
    build="samclr.evaluation.protocols.dense:build",
    measures={"miou": "mIoU", "pixel_accuracy": "pixels"},
    shown=(
        Shown(measure="miou", title="mIoU, linear", variant="linear"),
        Shown(measure="miou", title="mIoU, nearest patches", variant="knn"),
        Shown(measure="pixel_accuracy", title="pixels, linear", variant="linear"),
    ),
    prefix="dense_",
    kind="dense",
    per_class="per_class_iou",
    side="dense_px",
    told={"dense_k": "k", "dense_temperature": "temperature"},
    order=10,
)

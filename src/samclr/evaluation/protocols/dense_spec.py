"""Dense tasks on frozen patch features: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import BatchSize, Bounds, Count, InputSide, Rate, Seed, Steps, Temperature
from samclr.errors import ConfigError
from samclr.log import option_of


@dataclass(frozen=True, kw_only=True)
class DenseConfig(ProtocolConfig):
    """Segmentation from frozen patch features: a linear probe, and the labels of the nearest patches.

    Attributes:
        skip_dense: Skip the linear probe and the nearest patches; other protocols on such sets remain.
        dense_px: Shorter side that images are resized to (then to whole patches), in px; labels are never resized.
        dense_stage: Which feature map, from 0; by default the last. ResNets: 0 is the stem, then 1 to 4; ViTs: a block.
        dense_num_train: Size of a seeded random subset of the training images; None takes all.
        dense_num_test: Size of a seeded random subset of the test images; None takes all.
        dense_steps: Steps of the probe's SGD (momentum 0.9, no weight decay, cosine to zero).
        dense_batch_size: Patches per step.
        dense_lr: Learning rate, on standardised features.
        dense_seed: Seed for subsets, order and memory.
        dense_memory: Training patches to search among.
        dense_k: Neighbours whose labels are used.
        dense_temperature: A neighbour weighs exp(cosine similarity / dense_temperature).
    """

    name: ClassVar[str] = "dense"

    skip_dense: bool = False
    dense_px: InputSide = 360
    dense_stage: Annotated[int, Bounds(at_least=0, at_most=1000)] | None = None
    dense_num_train: Count | None = None
    dense_num_test: Count | None = None
    dense_steps: Steps = 2000
    dense_batch_size: BatchSize = 1024
    dense_lr: Rate = 0.1
    dense_seed: Seed = 0
    dense_memory: Count = 20_480
    dense_k: Annotated[int, Bounds(at_least=1, at_most=65_536)] = 30
    dense_temperature: Temperature = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dense_k > self.dense_memory:
            raise ConfigError(
                f"dense_k is {self.dense_k}; expected at most {option_of('dense_memory')}, {self.dense_memory}",
                "dense_k",
            )

    @property
    def is_asked(self) -> bool:
        """Unless it is skipped."""
        return not self.skip_dense

    def settings(self) -> dict[str, Any]:
        """Without skip_dense: it decides nothing of a result."""
        return {name: value for name, value in super().settings().items() if name != "skip_dense"}


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

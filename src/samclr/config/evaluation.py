"""Settings of the protocols beyond kNN and the probe on cached features. Nothing here imports torch or numpy."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from samclr.config.normalisation import Normalisation
from samclr.config.pretrain import Deviation, Mean, Stem, stated_normalisation
from samclr.config.serialise import (
    BatchSize,
    Bounds,
    Count,
    CountsWith,
    Epochs,
    InputSide,
    PositiveShare,
    Rate,
    Seed,
    Settings,
    Steps,
    Temperature,
    to_dict,
)
from samclr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TargetConfig(Settings):
    """What a file of weights does not say about itself, and how an untrained model is made.

    Runs, exports and timm's models state it themselves: leave it out there; a contradiction is an error.

    Attributes:
        backbone: The model whose weights the file holds: any timm model name, or small-cnn.
        stem: ResNets only: the first layers; see pretrain.
        mean: Mean of red, green and blue, on values from 0 to 1, that the input is normalised by; goes with std.
        std: Standard deviation of red, green and blue; see mean.
        input_px: Image size, in px, to build a backbone of fixed size for; by default --image-px.
    """

    backbone: str | None = None
    stem: Stem | None = None
    mean: Mean | None = None
    std: Deviation | None = None
    input_px: InputSide | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        stated_normalisation(self.mean, self.std)

    @property
    def normalisation(self) -> Normalisation | None:
        """As stated by mean and std, None where they are left open."""
        return stated_normalisation(self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class IntervalConfig(Settings):
    """95 % confidence intervals of all results, by the bootstrap over test images (Efron 1979), percentiles.

    Attributes:
        bootstrap: Number of resamples.
        bootstrap_seed: Seed of the resamples; with equal seeds every backbone gets the same ones.
    """

    bootstrap: Annotated[int, Bounds(at_least=100, at_most=10**6)] = 1000
    bootstrap_seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class FewShotConfig(Settings):
    """The probe on cached features with few labels, equally many per class.

    Attributes:
        few_shot: Shares of the training labels to use, such as 0.01 0.1; none by default.
        few_shot_seed: Seed for the choice of images.
    """

    few_shot: Annotated[tuple[float, ...], Bounds(over=0, under=1)] = ()
    few_shot_seed: Annotated[Seed, CountsWith("few_shot")] = 0


@dataclass(frozen=True, kw_only=True)
class CropProbeConfig(Settings):
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

    crop_probe: bool = False
    crop_epochs: Epochs = 90
    crop_batch_size: BatchSize = 128
    crop_lr: Rate = 0.1
    crop_px: InputSide = 128
    crop_min_scale: PositiveShare = 0.08
    crop_seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(Settings):
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
        tune_seed: Seed for order, crops and flips.
    """

    fine_tune: bool = False
    tune_epochs: Epochs = 30
    tune_batch_size: BatchSize = 128
    tune_backbone_lr: Rate = 0.02
    tune_head_lr: Rate = 0.2
    tune_weight_decay: Annotated[float, Bounds(at_least=0, at_most=1000)] = 1e-4
    tune_px: InputSide = 128
    tune_min_scale: PositiveShare = 0.08
    tune_seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class DenseConfig(Settings):
    """Segmentation from frozen patch features: a linear probe, and the labels of the nearest patches.

    Attributes:
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
                f"dense_k is {self.dense_k}; expected at most dense_memory, {self.dense_memory}", "dense_k"
            )


@dataclass(frozen=True, kw_only=True)
class ProtocolsConfig(Settings):
    """What is measured on labelled sets besides kNN and the probe on cached features."""

    few_shot: FewShotConfig = field(default_factory=FewShotConfig)
    crop_probe: Annotated[CropProbeConfig, CountsWith("crop_probe")] = field(default_factory=CropProbeConfig)
    fine_tune: Annotated[FineTuneConfig, CountsWith("fine_tune")] = field(default_factory=FineTuneConfig)
    interval: IntervalConfig = field(default_factory=IntervalConfig)

    def settings(self) -> dict[str, Any]:
        """The settings of those protocols that are run."""
        settings = to_dict(self.interval)
        if self.few_shot.few_shot:
            settings |= {"few_shot": list(self.few_shot.few_shot), "few_shot_seed": self.few_shot.few_shot_seed}
        if self.crop_probe.crop_probe:
            settings |= to_dict(self.crop_probe)
        if self.fine_tune.fine_tune:
            settings |= to_dict(self.fine_tune)
        return settings

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
    """What a file of weights does not say of itself, and how an untrained model is made.

    Runs, exports and timm's models know it: there it need not be given, and what contradicts them is refused.

    Attributes:
        backbone: any timm model name, or small-cnn: whose weights the file holds.
        stem: of ResNets, see pretrain.
        mean: of red, green and blue, values from 0 to 1, which the input is normalised by, with std.
        std: deviation, see mean.
        input_px: the size, in px, that a backbone of one image size is built for; by default --image-px.
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
        bootstrap: resamples.
        bootstrap_seed: of the resamples; equal seeds resample equal images whatever the backbone.
    """

    bootstrap: Annotated[int, Bounds(at_least=100, at_most=10**6)] = 1000
    bootstrap_seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class FewShotConfig(Settings):
    """The probe on cached features with few labels, as many of each class.

    Attributes:
        few_shot: shares of the training labels, such as 0.01 0.1; none by default.
        few_shot_seed: of the choice of images.
    """

    few_shot: Annotated[tuple[float, ...], Bounds(over=0, under=1)] = ()
    few_shot_seed: Annotated[Seed, CountsWith("few_shot")] = 0


@dataclass(frozen=True, kw_only=True)
class CropProbeConfig(Settings):
    """The paper's linear probe: a frozen backbone, random resized crops and flips, SGD with cosine.

    Attributes:
        crop_probe: run it; it costs crop_epochs passes of the training split through the backbone.
        crop_epochs: epochs.
        crop_batch_size: images a step.
        crop_lr: learning rate for a batch of 256; scaled with the batch.
        crop_px: side of a crop, and of the test images.
        crop_min_scale: least share of the image that a crop covers; the largest is all of it.
        crop_seed: of order, crops and flips.
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
    """What is measured on labelled sets beside kNN and the probe on cached features."""

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

"""Settings of the protocols beyond kNN and the probe on cached features. Nothing here imports torch or numpy."""

from dataclasses import dataclass, field
from typing import Any

from samclr.config import Stem, stated_normalisation
from samclr.errors import ConfigError
from samclr.normalisation import Channels, Normalisation
from samclr.settings import check_share, to_dict


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
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
    mean: Channels | None = None
    std: Channels | None = None
    input_px: int | None = None

    def __post_init__(self) -> None:
        stated_normalisation(self.mean, self.std)

    @property
    def normalisation(self) -> Normalisation | None:
        """As stated by mean and std, None where they are left open."""
        return stated_normalisation(self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class IntervalConfig:
    """95 % confidence intervals of all results, by the bootstrap over test images (Efron 1979), percentiles.

    Attributes:
        bootstrap: resamples.
        bootstrap_seed: of the resamples; equal seeds resample equal images whatever the backbone.
    """

    bootstrap: int = 1000
    bootstrap_seed: int = 0

    def __post_init__(self) -> None:
        if self.bootstrap < 100:
            raise ConfigError(f"bootstrap is {self.bootstrap}; an interval of 95 % needs at least 100 resamples")


@dataclass(frozen=True, kw_only=True)
class FewShotConfig:
    """The probe on cached features with few labels, as many of each class.

    Attributes:
        few_shot: shares of the training labels, such as 0.01 0.1; none by default.
        few_shot_seed: of the choice of images.
    """

    few_shot: tuple[float, ...] = ()
    few_shot_seed: int = 0

    def __post_init__(self) -> None:
        for share in self.few_shot:
            if not 0 < share < 1:
                raise ConfigError(f"few_shot has {share}; expected shares between 0 and 1, such as 0.01 for 1 %")


@dataclass(frozen=True, kw_only=True)
class CropProbeConfig:
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
    crop_epochs: int = 90
    crop_batch_size: int = 128
    crop_lr: float = 0.1
    crop_px: int = 128
    crop_min_scale: float = 0.08
    crop_seed: int = 0

    def __post_init__(self) -> None:
        check_share(self, "crop_min_scale")
        check_positive(self, "crop_epochs", "crop_batch_size", "crop_lr", "crop_px", "crop_min_scale")


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
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
    tune_epochs: int = 30
    tune_batch_size: int = 128
    tune_backbone_lr: float = 0.02
    tune_head_lr: float = 0.2
    tune_weight_decay: float = 1e-4
    tune_px: int = 128
    tune_min_scale: float = 0.08
    tune_seed: int = 0

    def __post_init__(self) -> None:
        check_share(self, "tune_min_scale")
        positive = ("tune_epochs", "tune_batch_size", "tune_backbone_lr", "tune_head_lr", "tune_px", "tune_min_scale")
        check_positive(self, *positive)


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
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

    dense_px: int = 360
    dense_stage: int | None = None
    dense_num_train: int | None = None
    dense_num_test: int | None = None
    dense_steps: int = 2000
    dense_batch_size: int = 1024
    dense_lr: float = 0.1
    dense_seed: int = 0
    dense_memory: int = 20_480
    dense_k: int = 30
    dense_temperature: float = 0.02

    def __post_init__(self) -> None:
        positive = ("dense_px", "dense_steps", "dense_batch_size", "dense_lr", "dense_memory", "dense_k")
        check_positive(self, *positive, "dense_temperature")
        for name in ("dense_num_train", "dense_num_test"):
            if getattr(self, name) is not None:
                check_positive(self, name)


@dataclass(frozen=True, kw_only=True)
class ProtocolsConfig:
    """What is measured on labelled sets beside kNN and the probe on cached features."""

    few_shot: FewShotConfig = field(default_factory=FewShotConfig)
    crop_probe: CropProbeConfig = field(default_factory=CropProbeConfig)
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)
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


def check_positive(owner: object, *names: str) -> None:
    """Raise ConfigError unless each named setting is over 0."""
    for name in names:
        if getattr(owner, name) <= 0:
            raise ConfigError(f"{name} is {getattr(owner, name)}; expected a number over 0")

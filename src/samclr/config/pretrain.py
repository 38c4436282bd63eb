"""All settings as frozen dataclasses, validated when made.

Nothing here imports torch or numpy, so the command line can show every default at once.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from samclr.config.methods import MethodConfig
from samclr.config.normalisation import Channels, Normalisation
from samclr.config.protocols import EvaluationData, KnnConfig
from samclr.config.registry import METHODS
from samclr.config.serialise import (
    Bounds,
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    Rate,
    Seed,
    Settings,
    Side,
    Threads,
    to_dict,
)
from samclr.config.views import AugmentConfig, FilterConfig, LocalViews, Role, Strategy, ViewGroup, ViewsConfig
from samclr.errors import ConfigError

__all__ = [
    "AugmentConfig", "Codec", "DataConfig", "EvaluationData", "FilterConfig", "KnnConfig", "LocalViews", "ModelConfig",
    "OptimConfig", "PretrainConfig", "Role", "RuntimeConfig", "Strategy", "ViewGroup", "ViewsConfig",
]  # fmt: skip

Codec = Literal["raw", "jpeg"]
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]
BankPlace = Literal["auto", "device", "pinned", "map"]
InputSide = Annotated[int, Bounds(at_least=1, at_most=2048)]
Mean = Annotated[Channels, Bounds(at_least=-1e6, at_most=1e6)]
Deviation = Annotated[Channels, Bounds(over=0, at_most=1e6)]
Stem = Literal["standard", "conv3x3-stride2", "conv3x3-stride1"]


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Where images and regions lie.

    Attributes:
        scenes: folders of images, Parquet files, tar shards, hub:OWNER/NAME, or data sets as NAME[:SPLIT]@ROOT
            (samclr data list); several are joined.
        image_column: the column of Parquet files that holds the images; None finds it, and says so where several could.
        regions: a region store made by `samclr segment`; needed by the strategies region and random-box.
        bank: folder of the scene bank; by default one in the user's cache, made when missing.
        max_side: cap on the longer side in the bank, px; None keeps the native size.
        codec: the bank's pixels: raw (fast, 4 bytes a pixel) or jpeg (a fraction of that, decoded at each crop).
    """

    scenes: tuple[Path, ...] = ()
    image_column: str | None = None
    regions: Path | None = None
    bank: Path | None = None
    max_side: Side | None = None
    codec: Codec = "raw"


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """Backbone.

    Attributes:
        backbone: any timm model name, or small-cnn (four layers, for demos).
        stem: ResNets only: standard (7x7 stride 2), or a 3x3 convolution of stride 2 (max-pooling stays),
            or of stride 1 without max-pooling (the usual one for CIFAR-10).
        pretrained: weights to begin with: "timm" downloads those of timm, else a file of timm's names (safetensors or
            torch's, or a folder of Hugging Face's layout); None begins at random.
        input_px: for backbones of one image size (BEiT, CaiT, Mixer, ...): the size, in px, that they are built for.
            None takes that of the views; those of any size need none.
        mean: of red, green and blue, values from 0 to 1, which the input is normalised by, with std. None takes what
            the pretrained weights were trained with, and ImageNet's for weights that begin at random.
        std: deviation, see mean.
    """

    backbone: str = "resnet18"
    stem: Stem = "standard"
    pretrained: str | None = None
    input_px: InputSide | None = None
    mean: Mean | None = None
    std: Deviation | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        stated_normalisation(self.mean, self.std)

    @property
    def normalisation(self) -> Normalisation | None:
        """As stated by mean and std, None where they are left open."""
        return stated_normalisation(self.mean, self.std)


def stated_normalisation(mean: Channels | None, std: Channels | None) -> Normalisation | None:
    """The normalisation that two options state; None where neither is given.

    Raises:
        ConfigError: one of them alone, or a value that cannot be right.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ConfigError(f"{'std' if mean is None else 'mean'} is given alone; expected mean and std together")
    return Normalisation(mean, std)


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Settings):
    """Optimiser and its schedule.

    Attributes:
        global_batch_size: images a step, over all devices.
        steps: length of the run.
        epochs: length in epochs of floor(images / global_batch_size) steps; overrides steps.
        optimizer: sgd and adamw by torch, lars by timm.
        lr: learning rate after warm-up, for the batch as it is.
        sgd_momentum: momentum of sgd and lars.
        weight_decay: decoupled for adamw.
        weight_decay_end: where a cosine schedule takes it; None keeps it constant.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        clip_per: whose norm: that of all gradients together (model), or each parameter's own (parameter), as DINO does.
        warmup_steps: linear warm-up of the learning rate.
        schedule: cosine to zero, or constant after warm-up.
        decay_norm_and_bias: whether weight decay also acts on norms and biases.
    """

    global_batch_size: Annotated[int, Bounds(at_least=2)] = 256
    steps: Count = 17_600
    epochs: Positive | None = None
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    lr: Rate = 0.06
    sgd_momentum: Annotated[float, Bounds(at_least=0, under=1)] = 0.9
    weight_decay: Annotated[float, Bounds(at_least=0, at_most=1000)] = 5e-4
    weight_decay_end: Annotated[float, Bounds(at_least=0, at_most=1000)] | None = None
    clip_norm: Positive | None = None
    clip_per: Literal["model", "parameter"] = "model"
    warmup_steps: CountOrZero = 0
    schedule: Literal["cosine", "constant"] = "cosine"
    decay_norm_and_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is None:
            self._check_warmup(self.steps)
        if self.clip_per == "parameter" and self.clip_norm is None:
            raise ConfigError("clip_per parameter clips nothing without clip_norm; give both", "clip_per")

    def _check_warmup(self, num_steps: int) -> None:
        if self.warmup_steps >= num_steps:
            raise ConfigError(
                f"warmup_steps is {self.warmup_steps}; expected fewer than the run's {num_steps} steps", "warmup_steps"
            )

    def num_steps(self, num_images: int) -> int:
        """Steps of the whole run; a folder smaller than a batch counts one step an epoch.

        Raises:
            ConfigError: the warm-up is not over by the end of the epochs.
        """
        if self.epochs is None:
            return self.steps
        steps = max(round(self.epochs * max(num_images // self.global_batch_size, 1)), 1)
        self._check_warmup(steps)
        return steps


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(Settings):
    """How a run is carried out; a resumed run may change it.

    Results change by rounding alone, but for precision, and with batch norm for devices and micro_batch_size, which
    decide whose statistics are taken together.

    Attributes:
        accelerator: auto, cpu, cuda, mps: as in Lightning Fabric.
        devices: devices of each machine.
        num_nodes: machines.
        micro_batch_size: rows (images times regions_per_image) that a device encodes at a time; the loss
            stays that of the whole batch (gradient caching).
        activation_checkpointing: keep few activations and compute the rest again, for large ViTs.
        compile: have the backbone compiled at its first step (torch.compile): a minute's wait, then faster steps.
        precision: 32-true, bf16-mixed, 16-mixed: as in Lightning Fabric; losses are float32 throughout.
        num_threads: threads of torch on the CPU; results are bit-equal only at equal thread counts.
        num_workers: processes that pack and that index regions, and threads that crop; None takes one per core.
        bank_on: where a raw bank lies: on the GPU (device), whose kernels then crop; in pinned memory, which the GPU
            reads over the bus (each device's process has a copy); or on the disk (map), mapped, and CPU threads crop.
            auto: the GPU if half of its free memory is enough, else the map.
        checkpoint_every_s: seconds between checkpoints; 0 saves after each step.
        log: also log to these, beside metrics.jsonl, in the run directory (wandb: online).
        knn_on: labelled set whose kNN and linear top-1 are logged during training.
        knn_every: epochs between two measurements.
    """

    accelerator: Accelerator = "auto"
    devices: Threads = 1
    num_nodes: Annotated[int, Bounds(at_least=1, at_most=65_535)] = 1
    micro_batch_size: Count | None = None
    activation_checkpointing: bool = False
    compile: bool = False
    precision: Precision = "32-true"
    num_threads: Threads | None = None
    num_workers: Threads | None = None
    bank_on: BankPlace = "auto"
    checkpoint_every_s: NotNegative = 120.0
    log: tuple[Literal["csv", "tensorboard", "wandb"], ...] = ()
    knn_on: Path | None = None
    knn_every: Count = 10


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Settings):
    """One pre-training run. `config.json` holds it whole and alone reproduces the run.

    Attributes:
        recipe: the recipe that the settings began as.
        seed: of weights, image order, regions, boxes and colours.
    """

    recipe: str = "samclr"
    method: MethodConfig = field(default_factory=lambda: METHODS["simclr"].config())
    seed: Seed = 0
    data: DataConfig = field(default_factory=DataConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    group: ViewGroup = field(default_factory=ViewGroup)
    local: LocalViews = field(default_factory=LocalViews)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    evaluation: EvaluationData = field(default_factory=EvaluationData)
    knn: KnnConfig = field(default_factory=KnnConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.local.num_local_views > 0 and not self.method.has_local_views:
            raise ConfigError(
                f"num_local_views is {self.local.num_local_views}; expected 0: {self.method.name} has no local views",
                "num_local_views",
            )
        if self.group.num_views < 2:
            raise ConfigError(f"num_views is {self.group.num_views}; a positive pair needs at least 2", "num_views")

    @property
    def groups(self) -> tuple[ViewGroup, ...]:
        """The view groups of a plan: global views, and local ones if there are any."""
        local = self.local
        if local.num_local_views == 0:
            return (self.group,)
        return self.group, ViewGroup(
            role="local",
            num_views=local.num_local_views,
            size_px=local.local_size_px,
            crop_scale=local.local_crop_scale,
            crop_ratio=self.group.crop_ratio,
        )

    def views_per_step(self) -> int:
        """Views that a step encodes, over all devices."""
        views = sum(group.num_views for group in self.groups)
        return self.optim.global_batch_size * self.views.regions_per_image * views

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result: all but the places of files and the way of running."""
        settings = to_dict(self)
        del settings["runtime"], settings["evaluation"], settings["knn"]
        settings["data"] = {"max_side": self.data.max_side, "codec": self.data.codec}
        return settings

"""All settings as frozen dataclasses, validated when made.

Nothing here imports torch or numpy, so that the command line shows every default at once.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from samclr.config.anchors import AnchorConfig
from samclr.config.devices import TrainingPrecision, check_device
from samclr.config.measuring import MeasuringConfig
from samclr.config.methods import MethodConfig, Which
from samclr.config.model import ModelConfig
from samclr.config.protocols import EvaluationData, KnnConfig
from samclr.config.registry import METHODS
from samclr.config.serialise import (
    Bounds,
    Count,
    CountsWith,
    Epochs,
    NotNegative,
    Positive,
    PositiveShare,
    Rate,
    Seed,
    Settings,
    Side,
    Steps,
    StepsOrZero,
    Threads,
    to_dict,
)
from samclr.config.views import (
    READS_REGIONS,
    AugmentConfig,
    FilterConfig,
    LocalViews,
    Role,
    Strategy,
    ViewGroup,
    ViewsConfig,
    view_groups,
)
from samclr.errors import ConfigError
from samclr.log import option_of

__all__ = [
    "AnchorConfig", "AugmentConfig", "Codec", "DataConfig", "EvaluationData", "Extension", "FilterConfig", "KnnConfig",
    "LocalViews", "MeasuringConfig",
    "ModelConfig", "OpenSetting", "OptimConfig", "PretrainConfig", "Role", "RuntimeConfig", "Strategy",
    "ViewGroup", "ViewsConfig", "view_groups",
]  # fmt: skip

Codec = Literal["raw", "jpeg"]
BankPlace = Literal["auto", "device", "pinned", "map"]
OpenSetting = Literal[
    "global_batch_size", "steps", "optimizer", "lr", "warmup_steps", "head_warmup_steps", "precision", "workers",
    "micro_batch_size",
]  # fmt: skip
ExtendSchedule = Literal["tail", "constant"]


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Where images and regions are.

    Attributes:
        scenes: Folders of images, Parquet files, tar shards, hub:OWNER/NAME, data sets as NAME[:SPLIT]@ROOT
            (samclr data list), or parts of these as LIST.txt@SCENES; several are joined.
        exclude: List of images to leave out of the scenes, one id a line, as samclr duplicates writes it.
        image_column: Column of Parquet files that holds the images; None detects it and reports any ambiguity.
        regions: Region store made by `samclr segment`; needed by the strategies region and random-box, and by views
            that carry regions.
        bank: Folder of the scene bank, made if missing; by default one in the user's cache.
        max_side: Cap on the longer side in the bank, in px; None keeps the native size.
        codec: How the bank stores pixels: raw (fast, 4 bytes each) or jpeg (a fraction of that, decoded at each crop).
        held_out: Share of the scenes, by their ids, that is not trained on: label-free figures of start and end are
            measured on it. None takes a tenth for recipes that continue weights where neither knn_on nor dense_on is
            given, else nothing.
    """

    scenes: tuple[Path, ...] = ()
    image_column: str | None = None
    exclude: Path | None = None
    regions: Annotated[Path | None, READS_REGIONS] = None
    bank: Path | None = None
    max_side: Side | None = None
    codec: Codec = "raw"
    held_out: Annotated[float, Bounds(at_least=0, at_most=0.5)] | None = None

    def num_held_out(self, num_images: int) -> int:
        """Of so many scenes, those that are not trained on: one at least where any share is held out."""
        return max(round(self.held_out * num_images), 1) if self.held_out else 0

    def num_trained(self, num_images: int) -> int:
        """Of so many scenes, those that are trained on."""
        return num_images - self.num_held_out(num_images)


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Settings):
    """Optimiser and its schedule.

    Attributes:
        global_batch_size: Images per step, over all devices; samclr pretrain fits it to the folder if not stated.
        steps: Length of the run, in steps; likewise.
        epochs: Length of the run in epochs of floor(images / global_batch_size) steps; overrides steps.
        optimizer: Optimiser: torch's sgd or adamw, or timm's lars; samclr pretrain fits it to the folder if neither
            it nor lr is stated.
        lr: Learning rate after warm-up; samclr pretrain scales the recipe's with the batch if not stated.
        sgd_momentum: Momentum of sgd and lars.
        weight_decay: Weight decay; decoupled for adamw.
        weight_decay_end: Weight decay at the end of a cosine schedule; None keeps it constant.
        clip_norm: Norm that gradients are scaled down to; None does not clip.
        clip_per: Clip by the norm of all gradients together (model) or of each parameter's (parameter), as DINO does.
        warmup_steps: Steps of linear warm-up of the learning rate; fitted to the run if not stated.
        schedule: Learning rate after warm-up: cosine to zero, or constant.
        extend_schedule: Learning rate when a finished run is given more steps: tail goes on as if the run had been of
            the new length from the start (a cosine rises once and falls to zero again); constant stays where that
            tail begins.
        decay_norm_and_bias: Apply weight decay to norms and biases, too.
        layer_decay: The learning rate of each group of the backbone's layers (as timm groups them) is that of the group
            above it times this; the heads above the backbone have lr itself. None gives all layers one rate.
        head_warmup_steps: Steps at the start in which the heads alone learn: the backbone keeps its weights and batch
            norm its statistics. Then the backbone's learning rate rises over warmup_steps of its own.
        ema_decay: Keep a running mean of the backbone's weights: the share that it keeps at each step. For methods
            without a momentum encoder, which is such a mean.
    """

    global_batch_size: Annotated[int, Bounds(at_least=2, at_most=1_048_576)] = 256
    steps: Annotated[Steps, CountsWith("epochs", (None,))] = 17_600
    epochs: Annotated[float, Bounds(over=0, at_most=1e6)] | None = None
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    lr: Rate = 0.06
    sgd_momentum: Annotated[float, Bounds(at_least=0, under=1), CountsWith("optimizer", ("sgd", "lars"))] = 0.9
    weight_decay: Annotated[float, Bounds(at_least=0, at_most=1000)] = 5e-4
    weight_decay_end: Annotated[float, Bounds(at_least=0, at_most=1000)] | None = None
    clip_norm: Positive | None = None
    clip_per: Literal["model", "parameter"] = "model"
    warmup_steps: StepsOrZero = 0
    schedule: Literal["cosine", "constant"] = "cosine"
    extend_schedule: ExtendSchedule = "tail"
    decay_norm_and_bias: bool = True
    layer_decay: PositiveShare | None = None
    head_warmup_steps: StepsOrZero = 0
    ema_decay: Annotated[float, Bounds(over=0, under=1)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_per == "parameter" and self.clip_norm is None:
            raise ConfigError(
                f"clip_per parameter clips nothing without a {option_of('clip_norm')}; give both", "clip_per"
            )

    def num_steps(self, num_images: int) -> int:
        """Steps of the whole run; a folder smaller than a batch counts one step an epoch.

        Raises:
            ConfigError: the warm-up is not over by the end.
        """
        steps = self.steps
        if self.epochs is not None:
            steps = max(round(self.epochs * max(num_images // self.global_batch_size, 1)), 1)
        _check_warmups(self, steps)
        return steps


def _check_warmups(optim: OptimConfig, num_steps: int, but: Container[str] = ()) -> None:
    """Raise ConfigError if a warm-up is not over by the end of the run. but: those that are yet to be fitted."""
    for name in ("warmup_steps", "head_warmup_steps"):
        if getattr(optim, name) >= num_steps and name not in but:
            raise ConfigError(
                f"{name} is {getattr(optim, name)}; expected fewer than the run's {num_steps} steps", name
            )


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(Settings):
    """How a run is executed; a resumed run may change it.

    Results change by rounding alone, except with precision and, where there is batch norm, with num_devices and
    micro_batch_size, which decide over which rows statistics are taken.

    Attributes:
        device: Device: auto (CUDA or MPS where available), cpu, cuda, cuda:1 ..., or mps.
        num_devices: Devices per machine.
        num_nodes: Number of machines.
        micro_batch_size: Rows (images times regions_per_image) that a device encodes at a time; the loss
            stays that of the whole batch (gradient caching). None takes all at once; on CUDA samclr pretrain fits it
            to the free memory if not stated.
        activation_checkpointing: Keep few activations and recompute the rest; saves memory with large ViTs.
        compile: Compile the backbone at the first step (torch.compile): a minute's wait, then faster steps.
        precision: Precision of the encoders: float32; bfloat16 and float16 keep weights in float32 (mixed), their -true
            forms do not. Losses are float32 or better throughout.
        num_threads: Threads of torch on the CPU; results are bit-equal only at equal thread counts.
        workers: Processes that pack and index regions, and threads that crop; None takes one per core.
        bank_on: Where a raw bank is kept: on the GPU (device), whose kernels then crop; in pinned memory, which the
            GPU reads over the bus (one copy per process); or on the disk (map), where CPU threads crop.
            auto takes the GPU if half of its free memory is enough, else the disk.
        checkpoint_every_s: Seconds between checkpoints; 0 saves after each step. Several devices save together, at
            every twentieth step at the soonest.
        log: Loggers to use besides metrics.jsonl, in the run directory (wandb: online).
        knn_on: Labelled set whose kNN and linear top-1 are logged during training, and that start and end are
            compared on.
        knn_every: Epochs between two measurements of knn_on.
    """

    device: str = "auto"
    num_devices: Threads = 1
    num_nodes: Annotated[int, Bounds(at_least=1, at_most=65_535)] = 1
    micro_batch_size: Count | None = None
    activation_checkpointing: bool = False
    compile: bool = False
    precision: TrainingPrecision = "float32"
    num_threads: Threads | None = None
    workers: Threads | None = None
    bank_on: Annotated[BankPlace, CountsWith("codec", ("raw",))] = "auto"
    checkpoint_every_s: NotNegative = 120.0
    log: tuple[Literal["csv", "tensorboard", "wandb"], ...] = ()
    knn_on: Path | None = None
    knn_every: Annotated[Epochs, CountsWith("knn_on")] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)


@dataclass(frozen=True, kw_only=True)
class Extension(Settings):
    """A finished run was given more steps.

    Attributes:
        after_steps: Its length until then.
        schedule: How its learning rate went on (extend_schedule).
    """

    after_steps: Steps = 1
    schedule: ExtendSchedule = "tail"


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Settings):
    """One pre-training run. `config.json` holds it whole and alone reproduces the run.

    Attributes:
        recipe: Recipe that the settings began as.
        seed: Seed for weights, image order, regions, boxes and colours.
        auto: Settings left open, which the start of a run decides by folder, device and a measured rate
            (samclr.config.sizing). A run's config.json holds what came of it, and leaves nothing open.
        extensions: Lengths that the run had before it was extended, oldest first.
    """

    recipe: str = "samclr"
    auto: tuple[OpenSetting, ...] = ()
    extensions: tuple[Extension, ...] = ()
    method: MethodConfig = field(default_factory=lambda: METHODS["simclr"].config())
    seed: Seed = 0
    data: DataConfig = field(default_factory=DataConfig)
    filter: Annotated[FilterConfig, READS_REGIONS] = field(default_factory=FilterConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    group: ViewGroup = field(default_factory=ViewGroup)
    local: LocalViews = field(default_factory=LocalViews)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    evaluation: Annotated[EvaluationData, CountsWith("knn_on")] = field(default_factory=EvaluationData)
    knn: Annotated[KnnConfig, CountsWith("knn_on")] = field(default_factory=KnnConfig)
    measuring: MeasuringConfig = field(default_factory=MeasuringConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.local.num_local_views > 0 and not self.method.has_local_views:
            raise ConfigError(
                f"num_local_views is {self.local.num_local_views}; expected 0: {self.method.name} has no local views",
                "num_local_views",
            )
        if self.optim.epochs is None and "steps" not in self.auto:
            _check_warmups(self.optim, self.optim.steps, but=self.auto)
            self._check_anchor(self.optim.steps)
        if self.method.wants_regions != (self.views.carried_regions > 0):
            raise ConfigError(
                f"carried_regions is {self.views.carried_regions}; expected "
                + (
                    f"1 or more: {self.method.name} pools features under the regions that its views carry"
                    if self.method.wants_regions
                    else f"0: {self.method.name} does not look at the regions that its views carry"
                ),
                "carried_regions",
            )
        if self.group.num_views < 2:
            raise ConfigError(f"num_views is {self.group.num_views}; a positive pair needs at least 2", "num_views")
        if self.optim.ema_decay is not None and self.method.has_momentum_encoder:
            raise ConfigError(
                f"ema_decay is {self.optim.ema_decay:g}; expected none: {self.method.name} has a momentum encoder, "
                f"which is such a mean ({option_of('ema_momentum')})",
                "ema_decay",
            )
        if self.model.exported == "teacher" and not self.has_teacher:
            raise ConfigError(
                f"exported is teacher; expected student: {self.method.name} has no momentum encoder, "
                f"and no {option_of('ema_decay')} is given",
                "exported",
            )
        ends = [extension.after_steps for extension in self.extensions]
        if self.optim.epochs is None and ends != sorted({*ends, self.optim.steps})[:-1]:
            raise ConfigError(
                f"extensions are after {ends} steps of {self.optim.steps}; expected rising numbers below the run's "
                f"length: give more steps, or no extensions",
                "extensions",
            )

    def _check_anchor(self, num_steps: int) -> None:
        start = self.anchor.anchor_start_step
        if self.anchor.anchor != "none" and start >= num_steps:
            raise ConfigError(
                f"anchor_start_step is {start}; expected fewer than the run's {num_steps} steps", "anchor_start_step"
            )

    def num_steps(self, num_images: int) -> int:
        """Steps of the whole run, as OptimConfig.num_steps counts them.

        Raises:
            ConfigError: the warm-up is not over by the end of the epochs, or the anchor does not begin before it.
        """
        steps = self.optim.num_steps(num_images)
        self._check_anchor(steps)
        return steps

    @property
    def has_teacher(self) -> bool:
        """Whether a running mean of the backbone's weights is kept: by the method, or by ema_decay."""
        return self.method.has_momentum_encoder or self.optim.ema_decay is not None

    @property
    def exported(self) -> Which:
        """Which weights evaluate, export and load_backbone take: as stated, else as is usual for the method."""
        usual = self.method.usually_exported if self.method.has_momentum_encoder else "teacher"
        return self.model.exported or (usual if self.has_teacher else "student")

    @property
    def groups(self) -> tuple[ViewGroup, ...]:
        """The view groups of a plan: global views, and local ones if there are any."""
        return view_groups(self.group, self.local)

    def views_per_step(self) -> int:
        """Views that a step encodes, over all devices."""
        views = sum(group.num_views for group in self.groups)
        return self.optim.global_batch_size * self.views.regions_per_image * views

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result: all but where files are and how the run is executed."""
        settings = to_dict(self)
        for name in ("runtime", "evaluation", "knn", "measuring", "auto"):
            del settings[name]
        del settings["optim"]["extend_schedule"]  # what came of it stands in the extensions
        settings["data"] = {"max_side": self.data.max_side, "codec": self.data.codec}
        if self.data.held_out:
            settings["data"]["held_out"] = self.data.held_out
        return settings

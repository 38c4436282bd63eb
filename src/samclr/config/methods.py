"""What every method's settings have, and how a method is declared. Its own settings are in its spec."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from samclr.config.registry import METHODS
from samclr.config.serialise import Bounds, Settings, Share
from samclr.errors import ConfigError

if TYPE_CHECKING:
    from samclr.config.recipes import Recipe

MOST_KEPT = 2**28  # numbers of a queue or of prototypes: 1 GB
Width = Annotated[int, Bounds(at_least=1, at_most=16_384)]
SameImage = Literal["keep", "ignore"]
Which = Literal["student", "teacher"]  # the weights that are trained, or their running mean
Kept = Literal["student", "teacher", "best"]  # or what is exported as it was at the best step
Weights = Literal["student", "teacher", "best", "start"]  # or those that the run began with


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig(Settings):
    """Projection head.

    Attributes:
        projector_hidden: Width of the head's hidden layers; None takes the backbone's feature width.
        projector_out: Width of the embeddings; with prototypes, of the bottleneck before them.
        projector_norm: Use batch norm in the head.
    """

    projector_hidden: Width | None = None
    projector_out: Width = 128
    projector_norm: bool = True


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Settings):
    """Base of every method's settings.

    Attributes:
        projector: The head between backbone and loss.
    """

    name: ClassVar[str]
    has_local_views: ClassVar[bool] = False
    has_momentum_encoder: ClassVar[bool] = False
    usually_exported: ClassVar[Which] = "teacher"  # with a momentum encoder
    kept: ClassVar[str] = ""  # the setting that says how many embeddings the method keeps, if it keeps some

    projector: ProjectorConfig = field(default_factory=ProjectorConfig)

    @property
    def wants_regions(self) -> bool:
        """Whether the method is given the regions that views carry; it needs views that carry some then."""
        return False

    def __post_init__(self) -> None:
        super().__post_init__()
        width, count = self.projector.projector_out, getattr(self, self.kept) if self.kept else 0
        if count * width > MOST_KEPT:
            raise ConfigError(
                f"{self.kept} is {count}; times projector_out, {width}, that is {count * width} numbers; "
                f"expected at most {MOST_KEPT}",
                self.kept,
            )

    @classmethod
    def named(cls, name: str) -> type["MethodConfig"]:
        """The settings of a method by its name. Raises UsageError for an unknown one."""
        return METHODS[name].config


@dataclass(frozen=True, kw_only=True)
class MomentumMethodConfig(MethodConfig):
    """Base of the settings of methods with a momentum encoder.

    Attributes:
        ema_momentum: Share of its weights that the momentum encoder keeps at each step.
        ema_momentum_end: Value at the end of a cosine schedule; None keeps ema_momentum constant.
    """

    has_momentum_encoder: ClassVar[bool] = True

    ema_momentum: Share = 0.99
    ema_momentum_end: Share | None = None


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """Declares a method.

    Attributes:
        title: as pages and tables show it with image views.
        region_title: likewise with region views.
        config: its settings, whose `name` is the method's.
        build: "module:function" of (backbone, config, seed, num_steps) -> samclr.methods.base.Method.
        recipes: the first takes image views and bears the method's name, the second region views.
        demo_config: settings that suit the demo's small backbone, batch and run.
        demo_lr: AdamW's learning rate there.
    """

    title: str
    region_title: str
    config: type[MethodConfig]
    build: str
    recipes: tuple["Recipe", ...]
    demo_config: MethodConfig
    demo_lr: float

    @property
    def name(self) -> str:
        """The method's name."""
        return self.config.name


def register_method(spec: MethodSpec) -> MethodSpec:
    """Add a method for this process, and return its spec; a package declares it as an entry point of `samclr.methods`.

    Raises:
        PluginError: it is not a MethodSpec, or its name is taken.
    """
    return METHODS.register(spec)

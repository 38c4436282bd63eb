"""Linear SVMs on sets with several classes an image: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import Bounds, Count, CountsWith, InputSide, Seed
from samclr.errors import ConfigError

COSTS = (*(10.0**power for power in range(-7, 3)), *(0.5**power for power in range(4, 20)))


@dataclass(frozen=True, kw_only=True)
class MultilabelConfig(ProtocolConfig):
    """A linear SVM a class on frozen features (Goyal et al., ICCV 2019), with all labels and with few.

    Attributes:
        multilabel_px: Side that images are resized and centre-cropped to, in px.
        multilabel_num_train: Size of a seeded random subset of the training images; None takes all.
        multilabel_num_test: Size of a seeded random subset of the test images; None takes all.
        multilabel_costs: Costs C of the SVM, of which three-fold cross-validation on the training images chooses one
            for each class; a single one is taken as it is. By default 1e-7 to 100 and 2^-4 to 2^-19, as in the paper.
        multilabel_shots: Also train on so many images a class, such as 1 2 4 8 16 32 64 96; none by default.
        multilabel_samples: Independent samples of the images, over which few-shot figures are the mean.
        multilabel_seed: Seed for these samples.
    """

    name: ClassVar[str] = "multilabel"
    sides: ClassVar[tuple[str, ...]] = ("multilabel_px",)

    multilabel_px: InputSide = 224
    multilabel_num_train: Count | None = None
    multilabel_num_test: Count | None = None
    multilabel_costs: Annotated[tuple[float, ...], Bounds(over=0, at_most=1e6, filled=True)] = COSTS
    multilabel_shots: Annotated[tuple[int, ...], Bounds(at_least=1, at_most=100_000)] = ()
    multilabel_samples: Annotated[int, Bounds(at_least=1, at_most=1000), CountsWith("multilabel_shots")] = 5
    multilabel_seed: Annotated[Seed, CountsWith("multilabel_shots")] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("multilabel_costs", "multilabel_shots"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ConfigError(f"{name} has a value twice; give each once", name)

    @property
    def variants(self) -> dict[str, str]:
        """The main one with all labels, then one for each number of shots."""
        return {name: name for name in ("", *(f"k{shots}" for shots in self.multilabel_shots))}


SPEC = ProtocolSpec(
    title="linear SVM",
    config=MultilabelConfig,
    build="samclr.evaluation.protocols.multilabel:build",
    measures={"map": "mAP", "map_eleven": "mAP, 11 points"},
    shown=(
        Shown(measure="map", title="mAP"),
        Shown(measure="map_eleven", title="mAP, 11 points"),
        Shown(measure="map", title="mAP, few labels", variant=None),
    ),
    prefix="multilabel_",
    kind="multilabel",
    per_class="per_class_ap",
    side="multilabel_px",
)

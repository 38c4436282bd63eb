"""The probe on cached features with few labels: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import Bounds, CountsWith, Seed
from samclr.errors import ConfigError
from samclr.evaluation.protocols.linear_spec import TRAINED_MEASURES


def share_name(share: float) -> str:
    """As results call it: 1pct."""
    return f"{100 * share:g}pct"


@dataclass(frozen=True, kw_only=True)
class FewShotConfig(ProtocolConfig):
    """The probe on cached features with few labels, equally many per class.

    Attributes:
        few_shot: Shares of the training labels to use, such as 0.01 0.1; none by default.
        few_shot_seed: Seed for the choice of images.
    """

    name: ClassVar[str] = "few_shot"

    few_shot: Annotated[tuple[float, ...], Bounds(over=0, under=1)] = ()
    few_shot_seed: Annotated[Seed, CountsWith("few_shot")] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({share_name(share) for share in self.few_shot}) < len(self.few_shot):
            raise ConfigError("few_shot names a share twice; expected each once", "few_shot")

    @property
    def is_asked(self) -> bool:
        """Whether a share is named."""
        return bool(self.few_shot)

    @property
    def variants(self) -> dict[str, str]:
        """One for each share."""
        return {name: name for name in map(share_name, self.few_shot)}


SPEC = ProtocolSpec(
    title="linear, few labels",
    config=FewShotConfig,
    build="samclr.evaluation.protocols.few_shot:build",
    measures=TRAINED_MEASURES,
    shown=(Shown(measure="top1_last", title="linear, few labels", variant=None),),
    prefix="few_shot_",
    order=30,
)

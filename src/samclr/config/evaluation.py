"""How backbones are measured: the target, the images, the intervals, and the settings of protocols by their names."""

from dataclasses import dataclass, field
from typing import Annotated

from samclr.config.normalisation import Normalisation
from samclr.config.pretrain import Deviation, InputSide, Mean, Stem, stated_normalisation
from samclr.config.protocols import EvaluationData, Kind, ProtocolConfig, protocols_of
from samclr.config.registry import PROTOCOLS
from samclr.config.serialise import Bounds, Seed, Settings
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

    bootstrap: Annotated[int, Bounds(at_least=100)] = 1000
    bootstrap_seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Settings):
    """How a backbone is measured.

    Attributes:
        data: the images of labelled sets, for all protocols on them.
        interval: of all results.
        protocols: settings of protocols, one of each at most; those of others are their defaults.
    """

    data: EvaluationData = field(default_factory=EvaluationData)
    interval: IntervalConfig = field(default_factory=IntervalConfig)
    protocols: tuple[ProtocolConfig, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [config.name for config in self.protocols]
        if len(set(names)) < len(names):
            raise ConfigError(f"protocols has settings of one protocol twice: {', '.join(names)}", "protocols")

    def of(self, name: str) -> ProtocolConfig:
        """The settings of a protocol. Raises UsageError for an unknown one."""
        spec = PROTOCOLS[name]
        return next((config for config in self.protocols if config.name == name), None) or spec.config()

    def asked(self, kind: Kind) -> list[ProtocolConfig]:
        """The settings of the protocols of a kind that are run, in their order."""
        return [config for spec in protocols_of(kind) if (config := self.of(spec.name)).is_asked]

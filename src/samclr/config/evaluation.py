"""How backbones are measured: the target, the images, the intervals, and the settings of protocols by their names."""

from dataclasses import dataclass, field
from typing import Annotated

from samclr.config.kinds import Kind
from samclr.config.model import Deviation, Mean, Stem, stated_normalisation
from samclr.config.model_args import parse_arguments
from samclr.config.normalisation import Normalisation
from samclr.config.protocols import EvaluationData, ProtocolConfig, protocols_of
from samclr.config.registry import PROTOCOLS
from samclr.config.serialise import Bounds, InputSide, Seed, Settings
from samclr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TargetConfig(Settings):
    """What a file of weights does not say about itself, and how an untrained model is made.

    Runs, exports and timm's models state it themselves: leave it out there; a contradiction is an error.

    Attributes:
        backbone: The model whose weights the file holds: any timm model name, or small-cnn.
        model_args: Arguments of timm's model beside its name, such as num_heads=12; see pretrain.
        stem: ResNets only: the first layers; see pretrain.
        mean: Mean of red, green and blue, on values from 0 to 1, that the input is normalised by; goes with std.
        std: Standard deviation of red, green and blue; see mean.
        input_px: Image size, in px, to build a backbone of fixed size for; by default --image-px.
    """

    backbone: str | None = None
    model_args: tuple[str, ...] = ()
    stem: Stem | None = None
    mean: Mean | None = None
    std: Deviation | None = None
    input_px: InputSide | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_arguments(self.model_args)
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
class EvaluationConfig(Settings):
    """How a backbone is measured.

    Attributes:
        data: The images of labelled sets, for all protocols on them.
        interval: Confidence intervals of all results.
        protocols: Settings of protocols, at most one of each; the others have their defaults.
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

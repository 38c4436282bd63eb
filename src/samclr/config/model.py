"""Settings of the backbone."""

from dataclasses import dataclass
from typing import Annotated, Literal

from samclr.config.methods import Which
from samclr.config.model_args import parse_arguments
from samclr.config.normalisation import Channels, Normalisation
from samclr.config.serialise import (
    Bounds,
    CountsWith,
    InputSide,
    Positive,
    Settings,
)
from samclr.errors import ConfigError
from samclr.log import option_of

Mean = Annotated[Channels, Bounds(at_least=-1e6, at_most=1e6)]
Deviation = Annotated[Channels, Bounds(over=0, at_most=1e6)]
Stem = Literal["standard", "conv3x3-stride2", "conv3x3-stride1"]
AUTO = "auto"  # a backbone: the one that the pretrained weights are of


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """Backbone.

    Attributes:
        backbone: Any timm model name, small-cnn (four layers, for demos), or auto, the one that the weights of
            pretrained are of, which is what samclr pretrain takes where you name these alone.
        model_args: Arguments of timm's model beside its name, such as patch_size=8 depth=6.
        stem: ResNets only: standard (7x7, stride 2), or a 3x3 convolution of stride 2 (with max-pooling) or of
            stride 1 (without it, as is usual for CIFAR-10).
        pretrained: Weights to begin with: "timm" for timm's of the backbone, the name of a timm model, a Hugging Face
            id or folder, or a file, whatever layout it has; see docs/backbones.md. None begins at random.
        input_px: Image size, in px, to build a backbone of fixed size (BEiT, CaiT, Mixer, ...) for. None takes the
            size of the views; other backbones need none.
        mean: Mean of red, green and blue, on values from 0 to 1, that the input is normalised by; goes with std. None
            takes that of the pretrained weights, or ImageNet's for weights that begin at random.
        std: Standard deviation of red, green and blue; see mean.
        freeze: Groups of layers, counted from the input as timm counts them, that keep their weights; all freezes the
            whole backbone. What is frozen is in evaluation mode, batch norm too.
        frozen_norm: Keep batch norm of the backbone in evaluation mode while it trains: it normalises by the statistics
            of its pretrained weights, which do not move (statistics); its scale and shift do not learn either (all).
            Backbones without batch norm stay the same.
        lora_rank: Train low-rank updates of this rank in the attention layers of a ViT, and no other weight of the
            backbone (LoRA; needs the package peft). They are merged wherever the backbone is used after training.
        lora_alpha: Updates are scaled by lora_alpha / lora_rank; None takes the rank, a scale of 1.
        lora_layers: Layers that have updates: those of attention, or those of the MLPs too.
        drop_path: Drop path (stochastic depth) of the last block; earlier blocks have less, as timm spreads it.
            None leaves it as timm builds the model. Momentum encoders have none where it is stated.
        exported: Which weights evaluate, export and load_backbone take: those that were trained (student), or
            their running mean (teacher). None decides by the method.
    """

    backbone: str = "resnet18"
    model_args: tuple[str, ...] = ()
    stem: Stem = "standard"
    pretrained: str | None = None
    input_px: InputSide | None = None
    mean: Mean | None = None
    std: Deviation | None = None
    freeze: Annotated[int, Bounds(at_least=0, at_most=10_000)] | Literal["all"] = 0
    frozen_norm: Literal["none", "statistics", "all"] = "none"
    lora_rank: Annotated[int, Bounds(at_least=1, at_most=1024)] | None = None
    lora_alpha: Annotated[Positive | None, CountsWith("lora_rank")] = None
    lora_layers: Annotated[Literal["attention", "attention-mlp"], CountsWith("lora_rank")] = "attention"
    drop_path: Annotated[float, Bounds(at_least=0, under=1)] | None = None
    exported: Which | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_arguments(self.model_args)
        stated_normalisation(self.mean, self.std)
        if self.freeze == "all" and self.lora_rank is not None:
            raise ConfigError(f"freeze all leaves no layer for {option_of('lora_rank')}; give one of the two", "freeze")

    @property
    def lora_scale(self) -> float:
        """By what the low-rank updates are multiplied."""
        return (self.lora_alpha or self.lora_rank or 1) / (self.lora_rank or 1)

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
        given = "std" if mean is None else "mean"
        raise ConfigError(f"{given} is given alone; expected mean and std together", given)
    return Normalisation(mean, std)

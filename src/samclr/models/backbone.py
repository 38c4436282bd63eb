"""Backbones: any timm model without its classifier, with a choice of stems for small views."""

import difflib

import timm
from jaxtyping import Float
from timm.models import load_state_dict
from torch import Tensor, nn

from samclr.config import ModelConfig
from samclr.errors import ConfigError, name_some
from samclr.models.sizes import DEFAULT_PX, SMALL_CNN, SMALL_CNN_WIDTH, InputSizes, choose_sizes, feature_width

__all__ = ["SMALL_CNN", "SmallCnn", "count_parameters", "create_backbone", "feature_width", "load_pretrained"]


class SmallCnn(nn.Module):
    """Four 3x3 convolutions with batch norm, averaged over the quarters of the image: minutes on a CPU, for demos."""

    num_features = SMALL_CNN_WIDTH
    input_sizes = InputSizes(name=SMALL_CNN, options=(), width=SMALL_CNN_WIDTH)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in, width, stride in ((3, 32, 2), (32, 64, 2), (64, 128, 2), (128, 128, 1)):
            layers += [nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 512"]:
        """Features: 128 for each quarter."""
        return nn.functional.adaptive_avg_pool2d(self.layers(pixels), 2).flatten(1)


def create_backbone(config: ModelConfig, size_px: int = DEFAULT_PX, pretrained: bool = False) -> nn.Module:
    """Make a backbone: [n 3 h w] -> features [n d]; its attribute `input_sizes` tells d and which images it takes.

    One of any size gets timm's options for that. Another is built for `config.input_px`, else for `size_px` if it
    does not take that as timm builds it. `pretrained`: with timm's weights, else untrained.

    Raises:
        ConfigError: timm has no such model, or the model has no stem of this kind, or takes no images of that size.
    """
    if config.backbone == SMALL_CNN:
        if config.stem != "standard":
            raise ConfigError(f"{SMALL_CNN} has no stem {config.stem}; leave --stem at standard")
        return SmallCnn()
    if not timm.is_model(config.backbone):
        near = ", ".join(difflib.get_close_matches(config.backbone, timm.list_models(), n=4))
        raise ConfigError(
            f"timm {timm.__version__} has no backbone {config.backbone!r}; "
            + (f"near it: {near}" if near else "timm.list_models() lists all")
        )
    sizes, _ = choose_sizes(config.backbone, size_px, config.input_px)
    backbone = timm.create_model(config.backbone, pretrained=pretrained, num_classes=0, **dict(sizes.options))
    backbone.input_sizes = sizes  # type: ignore[assignment]
    if config.stem != "standard":
        _replace_stem(backbone, config)
    return backbone


def load_pretrained(backbone: nn.Module, config: ModelConfig) -> None:
    """Begin with trained weights, for continued pre-training. A classifier in the file is left out.

    Raises:
        ConfigError: the weights cannot be had, or do not fit the backbone.
    """
    if config.pretrained is None:
        return
    try:
        if config.pretrained == "timm":
            options = dict(backbone.input_sizes.options)  # type: ignore[union-attr, arg-type]
            weights = timm.create_model(config.backbone, pretrained=True, num_classes=0, **options).state_dict()
        else:
            weights = load_state_dict(config.pretrained, use_ema=False, weights_only=True)
    except Exception as error:  # of the hub, the file system, safetensors or unpickling
        raise ConfigError(
            f"cannot get the weights {config.pretrained!r} for {config.backbone} ({type(error).__name__}: "
            f"{str(error)[:200]}); give --pretrained a local file of timm's weights"
        ) from None
    wanted = backbone.state_dict()
    wrong = [name for name, value in wanted.items() if name not in weights or weights[name].shape != value.shape]
    if wrong:
        raise ConfigError(
            f"the weights {config.pretrained!r} do not fit {config.backbone} with stem {config.stem}: "
            f"{name_some(wrong)} missing or of another shape"
        )
    backbone.load_state_dict({name: weights[name] for name in wanted})


def _replace_stem(backbone: nn.Module, config: ModelConfig) -> None:
    """conv3x3-stride2 keeps the max-pooling (a stride of 4 in all, as the standard stem); stride1 drops it."""
    first = getattr(backbone, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not hasattr(backbone, "maxpool"):
        raise ConfigError(f"--stem {config.stem} is for ResNets with a 7x7 stem; {config.backbone} has none")
    stride = 2 if config.stem == "conv3x3-stride2" else 1
    backbone.conv1 = nn.Conv2d(3, first.out_channels, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
    if stride == 1:
        backbone.maxpool = nn.Identity()


def count_parameters(module: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in module.parameters())

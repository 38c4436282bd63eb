"""Backbones: any timm model without its classifier, with a choice of stems for small views."""

from collections.abc import Callable
from typing import Any

import timm
from huggingface_hub import try_to_load_from_cache
from jaxtyping import Float
from torch import Tensor, nn

from samclr.config.model_args import details_of, for_timm
from samclr.config.pretrain import ModelConfig
from samclr.errors import ConfigError
from samclr.log import option_of
from samclr.models.details import set_details
from samclr.models.drop_path import check_drop_path, drop_path_options
from samclr.models.hub import ask
from samclr.models.names import SMALL_CNN, trained_config
from samclr.models.sizes import DEFAULT_PX, SMALL_CNN_WIDTH, InputSizes, choose_sizes, feature_width
from samclr.models.weights import open_weights, own_normalisation
from samclr.models.weights_files import FOLDER_WEIGHTS, TIMM, located
from samclr.models.weights_fitting import check_facts, load_weights

__all__ = ["SMALL_CNN", "SmallCnn", "count_parameters", "create_backbone", "feature_width", "load_pretrained"]


class SmallCnn(nn.Module):
    """Four 3x3 convolutions with batch norm, averaged over the quarters of the image: minutes on a CPU, for demos."""

    num_features = SMALL_CNN_WIDTH
    input_sizes = InputSizes(name=SMALL_CNN, options=(), width=SMALL_CNN_WIDTH)
    feature_info = ({"num_chs": 128, "reduction": 8, "module": "layers"},)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in, width, stride in ((3, 32, 2), (32, 64, 2), (64, 128, 2), (128, 128, 1)):
            layers += [nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
        self.layers = nn.Sequential(*layers)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], float]:
        """As timm's models have it: the group of a parameter by its name, one for each convolution and its norm."""
        return lambda name: int(name.split(".")[1]) // 3 if name.startswith("layers.") else float("inf")

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 512"]:
        """Features: 128 for each quarter."""
        return self.forward_head(self.layers(pixels))

    def forward_head(self, maps: Float[Tensor, "n 128 gh gw"]) -> Float[Tensor, "n 512"]:
        """Features of the last layer's map, as timm's models name it."""
        return nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)

    def forward_intermediates(
        self, pixels: Float[Tensor, "n 3 h w"], indices: Any = None, output_fmt: str = "NCHW", **options: bool
    ) -> Any:
        """The one stage's map, as timm's models give theirs: with `intermediates_only` alone, else after itself."""
        maps = self.layers(pixels)
        return [maps] if options.get("intermediates_only") else (maps, [maps])


def create_backbone(config: ModelConfig, size_px: int = DEFAULT_PX, drop_path: float | None = None) -> nn.Module:
    """Make an untrained backbone: [n 3 h w] -> features [n d]; its attribute `input_sizes` knows d.

    drop_path: as it is trained with; None leaves it as timm builds the model.

    One of any size gets timm's options for that. Another is built for `config.input_px`, else for `size_px` if it
    does not take that as timm builds it.

    Its attribute `normalisation` is what its input goes through, see samclr.config.normalisation.

    Raises:
        ConfigError: timm has no such model, or the model has no stem of this kind, or takes no images of that size, or
            has no drop path.
    """
    backbone = _bare_backbone(config, size_px, drop_path)
    check_drop_path(backbone, drop_path)
    backbone.normalisation = own_normalisation(config)[0]  # type: ignore[assignment]
    return backbone


def _bare_backbone(config: ModelConfig, size_px: int, drop_path: float | None) -> nn.Module:
    if config.backbone == SMALL_CNN:
        if config.model_args:
            raise ConfigError(f"{SMALL_CNN} takes no arguments; leave out {option_of('model_args')}")
        if config.stem != "standard":
            raise ConfigError(f"{SMALL_CNN} has no stem {config.stem}; leave {option_of('stem')} at standard")
        return SmallCnn()
    arguments = for_timm(config.model_args)
    sizes, _ = choose_sizes(config.backbone, config.input_px or size_px, config.input_px, arguments=arguments)
    more = drop_path_options(drop_path, sizes.accepted)
    backbone = timm.create_model(config.backbone, pretrained=False, num_classes=0, **dict(sizes.options), **more)
    backbone.input_sizes = sizes  # type: ignore[assignment]
    if config.stem != "standard":
        _replace_stem(backbone, config)
    set_details(backbone, details_of(config.model_args))
    return backbone


def load_pretrained(backbone: nn.Module, config: ModelConfig) -> None:
    """Begin with trained weights, for continued pre-training. A classifier in the file is left out and reported.

    Raises:
        ConfigError: the weights cannot be had, do not fit the backbone, or say that they are another's.
    """
    if config.pretrained is None:
        return
    if config.pretrained == TIMM:
        load_weights(
            backbone, _timm_weights(config.backbone, _options(backbone)), f"of timm's {config.backbone}", config
        )
    else:
        weights = open_weights(located(config.pretrained))
        check_facts(weights.facts, config, config.pretrained)
        load_weights(backbone, weights.tensors, config.pretrained, config, weights.remarks)


def _options(backbone: nn.Module) -> dict[str, Any]:
    sizes: InputSizes = backbone.input_sizes  # type: ignore[assignment]
    return dict(sizes.options)


def _timm_weights(name: str, options: dict[str, Any]) -> dict[str, Tensor]:
    trained = trained_config(name)
    if trained is None or not trained.has_weights:
        raise ConfigError(
            f"timm has no trained weights of {name}; start from random weights, or give a file of weights"
        )
    hub_id = trained.hf_hub_id
    try:
        files = [one for one in (trained.hf_hub_filename, *FOLDER_WEIGHTS) if one]
        if hub_id and not any(try_to_load_from_cache(hub_id, file) for file in files):
            ask(hub_id)
        weights: dict[str, Tensor] = timm.create_model(name, pretrained=True, num_classes=0, **options).state_dict()
    except Exception as error:  # no network: whatever the hub's client raises
        raise ConfigError(
            f"the weights of {name} cannot be fetched ({type(error).__name__}); without a network, give a file of them "
            f"(pretrain: --pretrained FILE; evaluate: FILE --backbone {name}), or leave it untrained"
        ) from None
    return weights


def _replace_stem(backbone: nn.Module, config: ModelConfig) -> None:
    """conv3x3-stride2 keeps the max-pooling (a stride of 4 in all, as the standard stem); stride1 drops it."""
    first = getattr(backbone, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not hasattr(backbone, "maxpool"):
        raise ConfigError(
            f"{option_of('stem')} {config.stem} is for ResNets with a 7x7 stem; {config.backbone} has none"
        )
    stride = 2 if config.stem == "conv3x3-stride2" else 1
    backbone.conv1 = nn.Conv2d(3, first.out_channels, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
    if stride == 1:
        backbone.maxpool = nn.Identity()


def count_parameters(module: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in module.parameters())

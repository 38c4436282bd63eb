"""From the settings a user gives to those a run has: what backbone and method decide is filled in, once."""

from dataclasses import replace

import torch

from samclr.config.model import AUTO, ModelConfig
from samclr.config.model_args import parse_arguments
from samclr.config.pretrain import PretrainConfig
from samclr.errors import ConfigError
from samclr.log import option_of, say
from samclr.models.backbone import create_backbone
from samclr.models.freeze import freeze
from samclr.models.layer_groups import layer_groups
from samclr.models.lora import lora_layers
from samclr.models.restore import settled
from samclr.models.sizes import fit_views
from samclr.models.weights import with_normalisation
from samclr.models.weights_files import TIMM


def resolve_config(config: PretrainConfig, tell: bool = True, saved: PretrainConfig | None = None) -> PretrainConfig:
    """The configuration as config.json states it: its backbone, sizes that that takes, its input's normalisation, and
    which weights are exported.

    tell: say what was rounded or assumed. saved: the settings of the run that is resumed: what its weights decided
    stands there, and their file may be gone.

    Raises:
        ConfigError: the backbone takes no such views, or its file of weights cannot be read, or it has no layers to
            freeze, to update or to leave out as asked for.
        UsageError: a package is missing.
    """
    resumed = saved is not None and saved.model.pretrained not in (None, TIMM)
    if saved is not None and resumed and saved.model.pretrained == config.model.pretrained:
        model = _as_saved(config.model, saved.model)
    else:
        model = settled(config.model)
    config = fit_views(replace(config, model=model), tell)
    _check_training(config)
    model, assumed = with_normalisation(config.model)
    if assumed and tell:
        say(assumed)
    return replace(config, model=replace(model, exported=config.exported))


def _as_saved(model: ModelConfig, saved: ModelConfig) -> ModelConfig:
    """What the weights decided where it is left open, as `settled` and `with_normalisation` would."""
    if model.backbone == AUTO:
        stem = saved.stem if model.stem == "standard" else model.stem
        model = replace(model, backbone=saved.backbone, stem=stem, input_px=model.input_px or saved.input_px)
    if set(parse_arguments(model.model_args)) <= set(parse_arguments(saved.model_args)):
        model = replace(model, model_args=saved.model_args)
    return model if model.mean is not None else replace(model, mean=saved.mean, std=saved.std)


def _check_training(config: PretrainConfig) -> None:
    """See that the backbone can be trained as asked for, on the meta device: before anything is packed or written."""
    model, decay = config.model, config.optim.layer_decay
    if model.frozen_norm != "none" and model.pretrained is None:
        raise ConfigError(
            "frozen_norm keeps the statistics of trained weights, and this run begins with random ones; name some with "
            f"{option_of('pretrained')}, or leave it out",
            "frozen_norm",
        )
    if not (model.freeze or model.lora_rank or model.drop_path or decay):
        return
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        backbone = create_backbone(model, config.group.size_px, model.drop_path)
    freeze(backbone, model.freeze)
    is_whole = not any(parameter.requires_grad for parameter in backbone.parameters())
    if is_whole and config.anchor.anchor != "none":
        raise ConfigError(
            f"anchor {config.anchor.anchor} holds patches of a backbone that learns, and freeze {model.freeze} leaves "
            f"it nothing to learn; set {option_of('anchor')} none, or freeze fewer layers",
            "anchor",
        )
    if is_whole and model.lora_rank is not None:
        raise ConfigError(
            f"freeze {model.freeze} leaves no layer for {option_of('lora_rank')}; give one of the two", "freeze"
        )
    if model.lora_rank is not None:
        lora_layers(backbone, model, config.group.size_px)
    if decay is not None:
        layer_groups(backbone, "layer_decay")

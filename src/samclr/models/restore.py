"""Backbones back from weights: what `samclr export`, timm and others write, here or on the hub."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from samclr.config.evaluation import TargetConfig
from samclr.config.model import AUTO, ModelConfig
from samclr.config.model_args import argument_texts, parse_arguments
from samclr.errors import ConfigError
from samclr.log import option_of, say, say_once
from samclr.models.backbone import create_backbone, load_pretrained
from samclr.models.hub import is_hub_id
from samclr.models.names import architecture
from samclr.models.sizes import DEFAULT_PX
from samclr.models.weights import Facts, read_facts, with_normalisation
from samclr.models.weights_files import TIMM, is_named, is_weights_folder, located


def is_weights(path: Path) -> bool:
    """Whether it is a file, a folder of Hugging Face's layout or the id of a model there, and not a run directory."""
    return path.is_file() or is_weights_folder(path) or is_hub_id(path.as_posix())


def settled(model: ModelConfig) -> ModelConfig:
    """The settings with what `pretrained` decides: the timm model that its weights are of, its arguments and stem.

    Raises:
        ConfigError: the weights cannot be had or read, or are of another backbone or stem, or do not say of which
            where that is left to them.
    """
    name = model.pretrained
    if name is None or name == TIMM:
        if model.backbone == AUTO:
            raise ConfigError(
                f"{option_of('backbone')} {AUTO} takes that of the weights, and none are named; name a backbone, or "
                f"weights with {option_of('pretrained')}"
            )
        return model
    if is_named(name):
        if model.backbone != AUTO and architecture(model.backbone) != architecture(name):
            raise ConfigError(
                f"{option_of('pretrained')} {name} has weights of {architecture(name)}, not of {model.backbone}; "
                f"leave out {option_of('backbone')}, or name that"
            )
        return replace(model, backbone=name, pretrained=TIMM)
    facts = read_facts(located(name))
    if model.backbone == AUTO:
        if facts.backbone is None:
            raise _unsaid(name)
        if model.stem != "standard" and facts.stem not in (None, model.stem):
            raise ConfigError(
                f"{name} holds weights of {facts.backbone} with stem {facts.stem}, not {model.stem}; leave out "
                f"{option_of('stem')}"
            )
        _say_assumed(name, facts)
        model = replace(model, backbone=facts.backbone, stem=facts.stem or model.stem)
        return replace(_with_arguments(model, facts, name), input_px=model.input_px or facts.input_px)
    if facts.backbone is not None and architecture(model.backbone) == architecture(facts.backbone):
        return _with_arguments(model, facts, name)
    return model


def _with_arguments(model: ModelConfig, facts: Facts, name: str) -> ModelConfig:
    """The arguments that the weights tell, and those that are given, which are taken where both speak."""
    arguments = dict(parse_arguments(facts.model_args)) | dict(parse_arguments(model.model_args))
    missing = [one for one in facts.unknown if one not in dict(parse_arguments(model.model_args))]
    if missing:
        raise ConfigError(
            f"{name} looks like {facts.backbone}, but does not tell its {', '.join(missing)}; state it with "
            f"{option_of('model_args')} {missing[0]}=N (DINO and MAE have heads 64 wide, MoCo v3's ViT-S has 12)"
        )
    return replace(model, model_args=argument_texts(arguments))


def _say_assumed(name: str, facts: Facts) -> None:
    if not facts.is_stated:
        say_once(
            f"{name} is taken for {facts.backbone}, by its tensors alone; name another with {option_of('backbone')}"
        )


def _unsaid(name: str | Path) -> ConfigError:
    return ConfigError(
        f"{name} does not say which backbone its weights belong to; name it with {option_of('backbone')}"
    )


def model_of(path: Path, facts: Facts, given: TargetConfig, pretrained: str | None = None) -> ModelConfig:
    """What a file says of its weights, and what is given where it is silent.

    A backbone that is given goes before one that the tensors alone tell.

    Args:
        pretrained: what the path was called, if otherwise, such as a Hugging Face id.

    Raises:
        ConfigError: neither says which backbone it is.
    """
    backbone = facts.backbone if facts.is_stated else given.backbone or facts.backbone
    backbone = backbone or given.backbone
    if backbone is None:
        raise _unsaid(path)
    if given.backbone is None:
        _say_assumed(pretrained or str(path), facts)
    own = facts.normalisation if facts.normalisation_is_stated else given.normalisation or facts.normalisation
    own = own or given.normalisation
    stem = facts.stem if facts.is_stated else given.stem or facts.stem
    model = ModelConfig(backbone=backbone, stem=stem or given.stem or "standard", pretrained=pretrained or str(path))
    model = replace(model, model_args=given.model_args, input_px=facts.input_px or given.input_px)
    if facts.backbone is not None and architecture(backbone) == architecture(facts.backbone):
        model = _with_arguments(model, facts, str(path))
    stated = facts.normalisation_is_stated or given.normalisation is not None
    return replace(model, mean=own.mean, std=own.std) if own is not None and stated else model


def load_exported(path: Path) -> nn.Module:
    """The backbone in a file or folder of weights that says what it is, in evaluation mode.

    Raises:
        ConfigError: it does not say so, is damaged, is an ONNX file, or does not fit the backbone that it names.
    """
    name = path.as_posix() if is_hub_id(path.as_posix()) else str(path)
    place = located(name)
    facts = read_facts(place)
    if facts.backbone is None:
        raise ConfigError(
            f"{path} does not say which backbone its weights belong to, as exports of samclr do; build that one and "
            f"load them by timm.create_model(NAME, num_classes=0, checkpoint_path=FILE)"
        )
    model, assumed = with_normalisation(model_of(place, facts, TargetConfig(), name))
    if assumed:
        say(assumed)
    return trained_backbone(model)


def trained_backbone(model: ModelConfig, image_px: int = DEFAULT_PX) -> nn.Module:
    """A backbone with the trained weights that its settings name, in evaluation mode.

    Raises:
        ConfigError: the weights cannot be had or do not fit, or the backbone takes no images of that size.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's own draws go on as if there had been none
        backbone = create_backbone(model, image_px)
        load_pretrained(backbone, model)
    return backbone.eval()

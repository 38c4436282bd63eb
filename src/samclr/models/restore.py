"""Backbones back from files of weights: what `samclr export`, timm and others write."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from samclr.config.evaluation import TargetConfig
from samclr.config.pretrain import ModelConfig
from samclr.errors import ConfigError
from samclr.log import option_of, say
from samclr.models.backbone import create_backbone, load_pretrained
from samclr.models.sizes import DEFAULT_PX
from samclr.models.weights import Facts, read_facts, with_normalisation
from samclr.models.weights_files import is_weights_folder


def is_weights(path: Path) -> bool:
    """Whether a path is a file, or a folder of Hugging Face's layout, and so not a run directory."""
    return path.is_file() or is_weights_folder(path)


def model_of(path: Path, facts: Facts, given: TargetConfig) -> ModelConfig:
    """What a file says of its weights, and what is given where it is silent.

    Raises:
        ConfigError: neither says which backbone it is.
    """
    backbone = facts.backbone or given.backbone
    if backbone is None:
        raise ConfigError(
            f"{path} does not say which backbone its weights belong to; name it with {option_of('backbone')}"
        )
    own = facts.normalisation or given.normalisation
    model = ModelConfig(backbone=backbone, stem=facts.stem or given.stem or "standard", pretrained=str(path))
    model = replace(model, input_px=facts.input_px or given.input_px)
    return model if own is None else replace(model, mean=own.mean, std=own.std)


def load_exported(path: Path) -> nn.Module:
    """The backbone in a file or folder of weights that says what it is, in evaluation mode.

    Raises:
        ConfigError: it does not say so, is damaged, is an ONNX file, or does not fit the backbone that it names.
    """
    facts = read_facts(path)
    if facts.backbone is None:
        raise ConfigError(
            f"{path} does not say which backbone its weights belong to, as exports of samclr do; build that one and "
            f"load them by timm.create_model(NAME, num_classes=0, checkpoint_path=FILE)"
        )
    model, assumed = with_normalisation(model_of(path, facts, TargetConfig()))
    if assumed:
        say(assumed)
    return trained_backbone(model)


def trained_backbone(model: ModelConfig, image_px: int = DEFAULT_PX) -> nn.Module:
    """A backbone with the trained weights that its settings name, in evaluation mode.

    Raises:
        ConfigError: the weights cannot be had or do not fit, or the backbone takes no images of that size.
    """
    backbone = create_backbone(model, image_px)
    load_pretrained(backbone, model)
    return backbone.eval()

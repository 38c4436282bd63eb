"""What is measured: a run, a file of weights, or a model by its name, with all that a result says of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from samclr._version import __version__
from samclr.config.evaluation import TargetConfig
from samclr.config.pretrain import ModelConfig
from samclr.config.serialise import to_dict
from samclr.errors import EvaluationError
from samclr.log import option_of, say
from samclr.models.backbone import SMALL_CNN, create_backbone, load_pretrained
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.sizes import DEFAULT_PX
from samclr.models.weights import architecture, is_weights_folder, read_facts, with_normalisation
from samclr.runs.checkpoint import CONFIG_FILE, load_backbone, load_config, newest_step
from samclr.runs.results import UNTRAINED


@dataclass(frozen=True, kw_only=True)
class Target:
    """A backbone to be measured.

    Attributes:
        name: as given, and whether it is untrained.
        backbone: in evaluation mode.
        model: its backbone, stem, mean and std, all stated.
        run: the run it belongs to, if any.
        seed: of an untrained backbone's weights; None for a trained one.
        source: the folder or file it comes from, or a model's name.
    """

    name: str
    backbone: nn.Module
    model: ModelConfig
    source: Path | str
    run: Path | None = None
    seed: int | None = None

    def facts(self) -> dict[str, Any]:
        """What a result says of the backbone: architecture, stem and the normalisation of its input."""
        return {key: value for key, value in to_dict(self.model).items() if key in ("backbone", "stem", "mean", "std")}

    def identity(self) -> dict[str, Any]:
        """What every result says of its backbone: weights and where they come from, beside `facts`."""
        trained_run = self.run if self.seed is None else None
        return {
            "target": self.name,
            "untrained": self.seed is not None,
            "seed": self.seed,
            "step": None if trained_run is None else newest_step(trained_run),
            "backbone_fingerprint": weights_fingerprint(self.backbone),
            "model": self.facts(),
            "samclr": __version__,
        }


def open_target(
    name: str, given: TargetConfig, untrained: bool, seed: int | None, image_px: int = DEFAULT_PX
) -> Target:
    """A run directory, a file or folder of weights (of `samclr export`, of timm), or a timm model by its name.

    `untrained` measures the same backbone before any training, as a floor. `given` tells what the target itself does
    not say, and may not contradict it. `seed` is that of an untrained backbone: by default the run's, else 0.
    A backbone of one image size is built for what the target or `given` says, else for `image_px`.

    Raises:
        EvaluationError: the name is none of these, or `given` contradicts it.
        ConfigError: the weights cannot be had or read, or do not fit, or the backbone takes no images of that size.
        RunError: the run has no checkpoint, or cannot be read.
    """
    path = Path(name)
    if (path / CONFIG_FILE).exists() and not is_weights_folder(path):
        config = load_config(path)
        model = _agreed(name, given, config.model)
        if not untrained:
            return Target(name=name, backbone=load_backbone(path), model=model, source=path, run=path)
        return _untrained(name, model, config.group.size_px, config.seed if seed is None else seed, path, path)
    if path.exists():
        model = _model_of_weights(name, given)
        if untrained:
            return _untrained(name, model, image_px, seed or 0, path)
        return Target(name=name, backbone=_trained(model, image_px), model=model, source=path)
    if name != SMALL_CNN and not timm.is_model(name):
        raise EvaluationError(f"{name} is not a run directory, a file of weights or a timm model; check the spelling")
    if untrained or name == SMALL_CNN:
        model = ModelConfig(backbone=name, stem=given.stem or "standard", mean=given.mean, std=given.std)
        model = replace(with_normalisation(_agreed(name, given, model))[0], input_px=given.input_px)
        return _untrained(name, model, image_px, seed or 0, name)
    model, _ = with_normalisation(ModelConfig(backbone=name, pretrained="timm", input_px=given.input_px))
    return Target(name=name, backbone=_trained(_agreed(name, given, model), image_px), model=model, source=name)


def _agreed(name: str, given: TargetConfig, model: ModelConfig) -> ModelConfig:
    """The target's own settings, if what is given agrees with them."""
    backbone = given.backbone is None or architecture(given.backbone) == architecture(model.backbone)
    agreed = {"backbone": backbone, "stem": given.stem in (None, model.stem)}
    agreed |= {key: getattr(given, key) in (None, getattr(model, key)) for key in ("mean", "std")}
    agreed["input_px"] = given.input_px in (None, model.input_px)
    for key, fits in agreed.items():
        if not fits:
            own, asked = (_shown(getattr(of, key)) for of in (model, given))
            trained = (
                f"; an untrained one ({option_of('untrained')}) may have it"
                if key == "stem" and model.pretrained == "timm"
                else ""
            )
            raise EvaluationError(
                f"{name} has the {key} {own}, which {option_of(key)} {asked} contradicts; leave it out{trained}"
            )
    return model


def _shown(value: Any) -> str:
    return " ".join(f"{one:g}" for one in value) if isinstance(value, tuple) else str(value)


def _model_of_weights(name: str, given: TargetConfig) -> ModelConfig:
    """What a file says of its weights, and what is given where it is silent."""
    facts = read_facts(Path(name))
    backbone = facts.backbone or given.backbone
    if backbone is None:
        raise EvaluationError(
            f"{name} does not say which backbone its weights belong to; name it with {option_of('backbone')}"
        )
    own = facts.normalisation or given.normalisation
    model = ModelConfig(backbone=backbone, stem=facts.stem or given.stem or "standard", pretrained=name)
    model = replace(model, input_px=facts.input_px or given.input_px)
    if own is not None:
        model = replace(model, mean=own.mean, std=own.std)
    model, assumed = with_normalisation(model)
    if assumed:
        say(assumed)
    return _agreed(name, given, model)


def _trained(model: ModelConfig, image_px: int) -> nn.Module:
    backbone = create_backbone(model, image_px)
    load_pretrained(backbone, model)
    return backbone.eval()


def _untrained(
    name: str, model: ModelConfig, image_px: int, seed: int, source: Path | str, run: Path | None = None
) -> Target:
    """The same backbone with random weights, also where a run began with trained ones."""
    with torch.random.fork_rng(devices=[]):  # the caller's own draws go on as if there had been none
        torch.default_generator.manual_seed(seed)
        backbone = create_backbone(model, image_px).eval()
    stem = "" if run is not None or model.stem == "standard" else f", stem {model.stem}"
    return Target(name=f"{name}{stem}{UNTRAINED}", backbone=backbone, model=model, source=source, run=run, seed=seed)

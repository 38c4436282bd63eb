"""What is measured, a run, a file or a model by its name, with all that a result says of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from samclr._version import __version__
from samclr.config.evaluation import TargetConfig
from samclr.config.methods import Weights
from samclr.config.model_args import parse_arguments
from samclr.config.normalisation import IMAGENET
from samclr.config.pretrain import ModelConfig
from samclr.config.serialise import to_dict
from samclr.errors import EvaluationError
from samclr.evaluation.inputs import check_target, is_run
from samclr.log import option_of, say
from samclr.models.backbone import create_backbone
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.hub import is_hub_id
from samclr.models.names import SMALL_CNN, architecture
from samclr.models.onnx_file import OnnxBackbone
from samclr.models.restore import model_of, trained_backbone
from samclr.models.sizes import DEFAULT_PX
from samclr.models.weights import own_normalisation, read_facts, with_normalisation
from samclr.models.weights_files import ONNX, located
from samclr.runs.before_after import steps_of
from samclr.runs.checkpoint import load_backbone
from samclr.runs.results import UNTRAINED
from samclr.runs.saved import load_config

FACTS = ("backbone", "model_args", "stem", "mean", "std")
UNKNOWN = "onnx"  # the backbone of an ONNX file that does not name its own


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
        which: of a run, if these are not the weights that it exports.
    """

    name: str
    backbone: nn.Module
    model: ModelConfig
    source: Path | str
    run: Path | None = None
    seed: int | None = None
    which: Weights | None = None

    def facts(self) -> dict[str, Any]:
        """What a result says of the backbone: architecture, stem and the normalisation of its input."""
        shown = {key: value for key, value in to_dict(self.model).items() if key in FACTS}
        return {key: value for key, value in shown.items() if value or key != "model_args"}

    def identity(self) -> dict[str, Any]:
        """What every result says of its backbone: weights and where they come from, beside `facts`."""
        trained_run = self.run if self.seed is None else None
        return {
            "target": self.name,
            "untrained": self.seed is not None,
            "seed": self.seed,
            "step": None if trained_run is None else steps_of(trained_run, self.which),
            "backbone_fingerprint": weights_fingerprint(self.backbone),
            "model": self.facts(),
            "samclr": __version__,
        }


def open_target(
    name: str,
    given: TargetConfig,
    untrained: bool,
    seed: int | None,
    image_px: int = DEFAULT_PX,
    which: Weights | None = None,
) -> Target:
    """A run directory, a file or folder of weights of any known layout, an ONNX file, or a model by its name: timm's,
    or the id of one on the Hugging Face hub.

    `untrained` measures the same backbone before any training, as a floor. `given` tells what the target itself does
    not say, and may not contradict it. `seed` is that of an untrained backbone: by default the run's, else 0.
    A backbone of one image size is built for what the target or `given` says, else for `image_px`. `which` weights of a
    run: by default those that it exports; the others are a target of their own, beside the run's.

    Raises:
        EvaluationError: the name is none of these, or `given` or `which` contradicts it.
        ConfigError: the weights cannot be had or read, or do not fit, or the backbone takes no images of that size.
        RunError: the run has no checkpoint, or cannot be read.
    """
    path = Path(name)
    check_target(name, untrained, which)
    if is_run(path):
        config = load_config(path)
        model = _agreed(name, given, config.model)
        if not untrained:
            backbone = load_backbone(path, which)
            if which in (None, config.exported):
                return Target(name=name, backbone=backbone, model=model, source=path, run=path)
            return Target(name=f"{name} ({which})", backbone=backbone, model=model, source=path, run=path, which=which)
        return _untrained(name, model, config.group.size_px, config.seed if seed is None else seed, path, path)
    if path.exists():
        if path.suffix == ONNX:
            return _of_onnx(name, given, untrained, seed, image_px)
        return _of_weights(name, path, given, untrained, seed, image_px)
    if is_hub_id(name):
        return _of_weights(name, located(name), given, untrained, seed, image_px)
    if untrained or name == SMALL_CNN:
        model = ModelConfig(backbone=name, stem=given.stem or "standard", mean=given.mean, std=given.std)
        model = replace(model, model_args=given.model_args, input_px=given.input_px)
        model, _ = with_normalisation(_agreed(name, given, model))
        return _untrained(name, model, image_px, seed or 0, name)
    model = ModelConfig(backbone=name, pretrained="timm", input_px=given.input_px, model_args=given.model_args)
    model, _ = with_normalisation(model)
    return Target(name=name, backbone=trained_backbone(_agreed(name, given, model), image_px), model=model, source=name)


def _agreed(name: str, given: TargetConfig, model: ModelConfig) -> ModelConfig:
    """The target's own settings, if what is given agrees with them."""
    backbone = given.backbone is None or architecture(given.backbone) == architecture(model.backbone)
    agreed = {"backbone": backbone, "stem": given.stem in (None, model.stem)}
    agreed |= {key: getattr(given, key) in (None, getattr(model, key)) for key in ("mean", "std")}
    arguments = dict(parse_arguments(model.model_args))
    agreed["model_args"] = all(arguments.get(key) == value for key, value in parse_arguments(given.model_args))
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
    if isinstance(value, tuple):
        return " ".join(one if isinstance(one, str) else f"{one:g}" for one in value)
    return str(value)


def _of_weights(name: str, path: Path, given: TargetConfig, untrained: bool, seed: int | None, image_px: int) -> Target:
    """The backbone in a file or folder: what it says of its weights, and what is given where it is silent."""
    model, assumed = with_normalisation(model_of(path, read_facts(path), given, name))
    if assumed:
        say(assumed)
    model = _agreed(name, given, model)
    if untrained:
        return _untrained(name, model, image_px, seed or 0, path)
    return Target(name=name, backbone=trained_backbone(model, image_px), model=model, source=path)


def _of_onnx(name: str, given: TargetConfig, untrained: bool, seed: int | None, image_px: int) -> Target:
    """The computation in an ONNX file; untrained, the backbone that it says to be of."""
    path = Path(name)
    backbone = OnnxBackbone(path)
    facts = backbone.facts
    if not untrained and facts.backbone is None and given.backbone is None:
        facts = replace(facts, backbone=UNKNOWN)
    model = replace(model_of(path, facts, given), pretrained=None)
    if model.normalisation is None:
        say(
            f"{name} does not say how its input was normalised: ImageNet's is assumed ({IMAGENET}); "
            f"state another with {option_of('mean')} and {option_of('std')}"
        )
    model = _agreed(name, given, with_normalisation(model)[0])
    if untrained:
        return _untrained(name, model, image_px, seed or 0, path)
    backbone.normalisation = own_normalisation(model)[0]  # type: ignore[assignment]
    return Target(name=name, backbone=backbone.eval(), model=model, source=path)


def _untrained(
    name: str, model: ModelConfig, image_px: int, seed: int, source: Path | str, run: Path | None = None
) -> Target:
    """The same backbone with random weights, also where a run began with trained ones."""
    with torch.random.fork_rng(devices=[]):  # the caller's own draws go on as if there had been none
        torch.default_generator.manual_seed(seed)
        backbone = create_backbone(model, image_px).eval()
    stem = "" if run is not None or model.stem == "standard" else f", stem {model.stem}"
    return Target(name=f"{name}{stem}{UNTRAINED}", backbone=backbone, model=model, source=source, run=run, seed=seed)

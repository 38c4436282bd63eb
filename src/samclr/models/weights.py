"""Weights in files that anyone may have made: what a file says of itself, its tensors, whether they fit a backbone."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from timm.models import clean_state_dict
from torch import Tensor, nn

from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.config.pretrain import ModelConfig, Stem
from samclr.config.serialise import from_dict
from samclr.errors import ConfigError, FilesError, name_some
from samclr.log import option_of, say
from samclr.models.names import architecture
from samclr.models.weights_files import FOLDER_CONFIG, FOLDER_WEIGHTS, is_weights_folder, weights_file
from samclr.storage.checksums import checksum_of_weights
from samclr.storage.files import read_json

SETS = ("state_dict", "model", "state_dict_ema", "model_ema")  # where scripts put them, in this order of preference
COUNTERS = "num_batches_tracked"  # old files lack them; nothing that a backbone computes depends on them


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a file of weights says of itself; None where it says nothing."""

    backbone: str | None = None
    stem: Stem | None = None
    normalisation: Normalisation | None = None
    input_px: int | None = None


def read_facts(path: Path) -> Facts:
    """What the file, or the folder, says of its weights.

    Raises:
        ConfigError: there is no such file, it is damaged, or it contradicts itself.
    """
    file = weights_file(path)
    try:
        if file.suffix == ".safetensors":
            _check_whole(file)
        if is_weights_folder(file.parent) and file.name in FOLDER_WEIGHTS:
            config = read_json(file.parent / FOLDER_CONFIG, {})
            trained = config.get("pretrained_cfg")
            trained = trained if isinstance(trained, dict) else {}
            facts = Facts(backbone=config["architecture"], stem="standard", normalisation=_stated(trained))
            return replace(facts, input_px=_side(config.get("model_args")))
        if file.suffix != ".safetensors":
            return Facts()
        with safe_open(file, "pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
        return facts_of(metadata)
    except (SafetensorError, OSError, ValueError, RecursionError, ConfigError, FilesError) as error:
        raise ConfigError(f"{path} is not a complete file of weights ({_first_line(error)}); give another") from None


def facts_of(metadata: dict[str, str]) -> Facts:
    """What the metadata of a file say, as `samclr export` writes them.

    Raises:
        ConfigError: they contradict themselves. ValueError: they are of something else.
    """
    stem, backbone = metadata.get("stem"), metadata.get("backbone")
    if stem not in (None, *get_args(Stem)):
        raise ConfigError(f"it names the stem {stem!r}; expected one of {', '.join(get_args(Stem))}")
    stated = _stated({name: json.loads(metadata[name]) for name in ("mean", "std") if name in metadata})
    if stated is None and stem is not None and backbone is not None:
        stated = IMAGENET  # an export of samclr 0.1, which knew no other
    return Facts(
        backbone=backbone,
        stem=cast(Stem | None, stem),
        normalisation=stated,
        input_px=int(metadata["input_px"]) if "input_px" in metadata else None,
    )


def _check_whole(file: Path) -> None:
    """Raise ConfigError if a file with a checksum, as samclr writes it, is damaged."""
    with safe_open(file, "pt") as opened:
        expected = (opened.metadata() or {}).get("checksum")
    if expected is not None and expected != checksum_of_weights(file.read_bytes()):
        raise ConfigError("its checksum does not fit: it is damaged")


def _side(arguments: Any) -> int | None:
    """The side of the square images that timm was asked to build for."""
    size = arguments.get("img_size") if isinstance(arguments, dict) else None
    sides = size if isinstance(size, list) and size else [size]
    return sides[0] if isinstance(sides[0], int) and len(set(sides)) == 1 else None


def _stated(values: dict[str, Any]) -> Normalisation | None:
    if "mean" not in values and "std" not in values:
        return None
    found: Normalisation = from_dict(
        Normalisation, {name: values.get(name) for name in ("mean", "std")}, "what it says"
    )
    return found


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names, on the CPU. Nothing in the file is run.

    Raises:
        ConfigError: it is damaged, or holds something else.
    """
    file = weights_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about foreign files
            found = clean_state_dict(_one_set(_load(file), path))
    except SafetensorError as error:
        raise ConfigError(f"{path} is not a complete safetensors file ({_first_line(error)}); give another") from None
    except Exception as error:  # unpickling raises anything on broken or foreign bytes
        raise ConfigError(
            f"{path} holds no weights that can be read ({type(error).__name__}): it is damaged, or holds other things "
            f"than tensors; expected the tensors by their names, alone or under state_dict or model"
        ) from None
    other = [f"{name} ({type(value).__name__})" for name, value in found.items() if not _is_plain(value)]
    if other or not found:
        raise ConfigError(
            f"{path} holds {name_some(other) if other else 'nothing'}; "
            f"expected tensors by their names, alone or under state_dict or model"
        )
    return found


def _load(file: Path) -> Any:
    if file.suffix == ".safetensors":
        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _one_set(loaded: Any, path: Path) -> dict[str, Any]:
    """The tensors by their names, or the set of them that stands under one of SETS; others are said."""
    held = loaded if isinstance(loaded, dict) else {}
    sets = [name for name in SETS if isinstance(held.get(name), dict)]
    if sets[1:]:
        say(f"{path} holds several sets of weights: {sets[0]} is used, not {', '.join(sets[1:])}")
    found: dict[str, Any] = held[sets[0]] if sets else loaded
    return found


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def load_weights(backbone: nn.Module, tensors: dict[str, Tensor], source: str, model: ModelConfig) -> None:
    """Put the tensors into the backbone: all of its own, and none left over but a classifier's, which is reported.

    Raises:
        ConfigError: they do not fit; what is missing, of another shape or kind, or left over is named.
    """
    wanted = backbone.state_dict()
    classifier = _classifier(backbone)
    extra = [name for name in tensors if name not in wanted]
    left_out = [name for name in extra if _below(name, classifier)]
    fitting = {name: tensors[name] for name in wanted if name in tensors}
    faults = {
        "missing": [name for name in wanted if name not in tensors and not name.endswith(COUNTERS)],
        "wrong": [text for name, value in fitting.items() if (text := _misfit(name, value, wanted[name]))],
        "not the backbone's": [name for name in extra if not _below(name, classifier) and not name.endswith(COUNTERS)],
    }
    if any(faults.values()):
        named = "; ".join(f"{kind}: {name_some(names)}" for kind, names in faults.items() if names)
        raise ConfigError(
            f"the weights {source} do not fit {model.backbone} with stem {model.stem} ({named}); "
            f"name the right ones with {option_of('backbone')} and {option_of('stem')}, or give weights of timm's names"
        )
    broken = [name for name, value in fitting.items() if not bool(torch.isfinite(value.float()).all())]
    if broken:
        raise ConfigError(f"the weights {source} are not finite in {name_some(broken)}; give an intact file")
    if left_out:
        say(f"the weights {source}: the classifier is left out ({name_some(left_out)})")
    backbone.load_state_dict(fitting, strict=False)


def _classifier(backbone: nn.Module) -> Sequence[str]:
    config = getattr(backbone, "pretrained_cfg", None)
    named = config.get("classifier") if isinstance(config, dict) else None
    return (named,) if isinstance(named, str) else tuple(named or ())


def _below(name: str, modules: Sequence[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _misfit(name: str, value: Tensor, wanted: Tensor) -> str:
    """How a tensor differs from what is expected, other than by its precision."""
    if value.shape != wanted.shape:
        return f"{name} {list(value.shape)}, expected {list(wanted.shape)}"
    if value.is_complex() or value.is_floating_point() != wanted.is_floating_point():
        return f"{name} {_word(value)}, expected {_word(wanted)}"
    return ""


def _word(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def with_normalisation(model: ModelConfig) -> tuple[ModelConfig, str | None]:
    """The settings with their mean and std stated, and the sentence of `own_normalisation`."""
    own, assumed = own_normalisation(model)
    return replace(model, mean=own.mean, std=own.std), assumed


def own_normalisation(model: ModelConfig) -> tuple[Normalisation, str | None]:
    """By what the input of a backbone is normalised: as stated, else as its weights were trained, else ImageNet's.

    The second is a sentence where that had to be assumed, else None.

    Raises:
        ConfigError: the file of weights cannot be read.
    """
    if model.normalisation is not None:
        return model.normalisation, None
    if model.pretrained is None:
        return IMAGENET, None
    if model.pretrained != "timm":
        found = read_facts(Path(model.pretrained)).normalisation
        if found is not None:
            return found, None
    trained = timm.get_pretrained_cfg(model.backbone) if timm.is_model(model.backbone) else None
    own = IMAGENET if trained is None else Normalisation(trained.mean, trained.std)  # type: ignore[arg-type]
    if model.pretrained == "timm":
        return own, None
    whose = "ImageNet's" if trained is None else f"that of timm's {model.backbone}"
    return own, (
        f"{model.pretrained} does not say how its input was normalised: {whose} is assumed ({own}); "
        f"state another with {option_of('mean')} and {option_of('std')}"
    )


def check_facts(facts: Facts, model: ModelConfig, source: str) -> None:
    """Compare what a file says of its weights with what they are loaded into.

    Raises:
        ConfigError: another backbone or stem.
    """
    backbone, stem = facts.backbone or model.backbone, facts.stem or model.stem
    if (architecture(backbone), stem) != (architecture(model.backbone), model.stem):
        raise ConfigError(
            f"{source} holds the weights of {backbone} with stem {stem}, not of {model.backbone} with stem "
            f"{model.stem}; type {option_of('backbone')} {backbone} {option_of('stem')} {stem}"
        )
    if facts.input_px is not None and model.input_px is not None and facts.input_px != model.input_px:
        raise ConfigError(
            f"{source} holds weights for images of {facts.input_px} px, not of {model.input_px} px; "
            f"type {option_of('input_px')} {facts.input_px}, with views of that size"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

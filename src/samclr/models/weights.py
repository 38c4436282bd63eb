"""Weights in files that anyone may have made: what a file says of itself, its tensors, whether they fit a backbone."""

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

from safetensors import SafetensorError, safe_open
from torch import Tensor

from samclr.config.model import ModelConfig, Stem
from samclr.config.model_args import RESERVED, argument_texts
from samclr.config.normalisation import IMAGENET, UNCHANGED, Normalisation
from samclr.config.serialise import from_dict
from samclr.errors import ConfigError, FilesError, name_some
from samclr.log import option_of
from samclr.models.layouts.base import Renamed, rename
from samclr.models.layouts.known import model_types
from samclr.models.names import trained_config
from samclr.models.weights_files import (
    FOLDER_CONFIG,
    FOLDER_INPUT,
    FOLDER_WEIGHTS,
    TIMM,
    folder_config,
    is_timm_folder,
    located,
    weights_file,
)
from samclr.models.weights_reading import Found, read_found
from samclr.storage.checksums import checksum_of_weights
from samclr.storage.files import read_json

SETS = ("state_dict", "model", "state_dict_ema", "model_ema")  # where scripts put them, in this order of preference
COUNTERS = "num_batches_tracked"  # old files lack them; nothing that a backbone computes depends on them


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a file of weights says of itself, or its tensors tell; None where they say nothing.

    Attributes:
        backbone, stem, input_px, model_args: see ModelConfig.
        normalisation: what the input was normalised by.
        unknown: arguments of the backbone that the tensors do not tell.
        layout: whose names the tensors have, where samclr knows them.
        is_stated: the file names its backbone; False where its tensors alone tell it.
        normalisation_is_stated: False where it is what is published of the layout.
    """

    backbone: str | None = None
    stem: Stem | None = None
    normalisation: Normalisation | None = None
    input_px: int | None = None
    model_args: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    layout: str | None = None
    is_stated: bool = True
    normalisation_is_stated: bool = True


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a file holds: facts, tensors by timm's names, and remarks on what was taken, renamed and left over."""

    facts: Facts
    tensors: dict[str, Tensor]
    remarks: tuple[str, ...]


def read_facts(path: Path) -> Facts:
    """What the file, or the folder, says of its weights, and else what its tensors tell.

    Raises:
        ConfigError: there is no such file, it is damaged, or it contradicts itself.
    """
    own = _own_facts(path)
    if own.backbone is not None:
        return own
    file = weights_file(path)
    beside = [file, *(file.with_name(name) for name in (FOLDER_CONFIG, FOLDER_INPUT))]
    states = [one.stat() for one in beside if one.is_file()]
    return _facts_of_tensors(path, tuple((one.st_mtime_ns, one.st_size) for one in states))


@lru_cache(maxsize=8)
def _facts_of_tensors(path: Path, stamps: tuple[tuple[int, int], ...]) -> Facts:
    """They are asked for several times, and a file may have gigabytes. stamps: of it and of what lies beside."""
    return open_weights(path).facts


def open_weights(path: Path) -> Weights:
    """The tensors of one backbone by timm's names, and what is to be said of them.

    Raises:
        ConfigError: there are none, they cannot be read, or the file contradicts itself.
    """
    own, file = _own_facts(path), weights_file(path)
    found = read_found(file, str(path))
    config = _model_config(file)
    kind, layout = config.get("model_type"), found.layout
    if kind is not None and (layout is None or kind not in layout.model_types):
        raise ConfigError(
            f"{path} holds {'no layout that is known' if layout is None else layout.title}, but its {FOLDER_CONFIG} "
            f"says model_type {kind}; expected one of {', '.join(model_types())}"
        )
    if layout is None:
        return Weights(facts=own, tensors=found.tensors, remarks=_remarks(found, None))
    try:
        renamed = rename(layout, found.tensors, config | {"taken": found.taken})
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be taken: {error}") from None
    if own.backbone is None:
        architecture = renamed.architecture
        own = Facts(
            backbone=architecture.name,
            stem=architecture.stem or (None if architecture.name is None else "standard"),
            normalisation=own.normalisation or architecture.normalisation or layout.normalisation,
            model_args=argument_texts(architecture.arguments) if architecture.name else (),
            unknown=architecture.unknown,
            layout=layout.title,
            is_stated=kind is not None,
            normalisation_is_stated=own.normalisation is not None,
        )
    return Weights(facts=own, tensors=renamed.tensors, remarks=_remarks(found, renamed))


def _own_facts(path: Path) -> Facts:
    file = weights_file(path)
    try:
        metadata: dict[str, str] = {}
        if file.suffix == ".safetensors":
            _check_whole(file)
            with safe_open(file, "pt") as opened:
                metadata = opened.metadata() or {}
        if is_timm_folder(file.parent) and file.name in FOLDER_WEIGHTS:
            facts = _facts_of_timm(folder_config(file.parent))
            own = facts_of(metadata).model_args  # timm's config.json has no place for samclr's details
            return replace(facts, model_args=own) if own else facts
        facts = facts_of(metadata)
        if facts.backbone is not None:
            return facts
        return Facts(normalisation=_of_preprocessor(file))
    except (SafetensorError, OSError, ValueError, RecursionError, ConfigError, FilesError) as error:
        raise ConfigError(f"{path} is not a complete file of weights ({_first_line(error)}); give another") from None


def _facts_of_timm(config: dict[str, Any]) -> Facts:
    """What timm's config.json says."""
    trained = config.get("pretrained_cfg")
    facts = Facts(
        backbone=config["architecture"],
        stem="standard",
        normalisation=_stated(trained if isinstance(trained, dict) else {}),
    )
    given = config.get("model_args")
    arguments = {key: value for key, value in given.items() if key not in RESERVED} if isinstance(given, dict) else {}
    if given and not given.get("dynamic_img_size"):
        facts = replace(facts, input_px=_side(arguments.pop("img_size", None)))
    return replace(facts, model_args=argument_texts(arguments))


def _model_config(file: Path) -> dict[str, Any]:
    """config.json of transformers beside a file; of CLIP and SigLIP, what it says of the vision tower."""
    if file.name not in FOLDER_WEIGHTS or is_timm_folder(file.parent):
        return {}
    config = folder_config(file.parent)
    vision = config.get("vision_config")
    if isinstance(config.get("model_type"), str) and isinstance(vision, dict):
        return vision | {"model_type": config["model_type"]}
    return config if isinstance(config.get("model_type"), str) else {}


def _of_preprocessor(file: Path) -> Normalisation | None:
    """The normalisation that preprocessor_config.json states, beside the weights of a folder."""
    if file.name not in FOLDER_WEIGHTS or not _model_config(file):
        return None
    said = read_json(file.parent / FOLDER_INPUT, {})
    if said.get("do_normalize") is False:
        return UNCHANGED
    return _stated(
        {ours: said[theirs] for ours, theirs in (("mean", "image_mean"), ("std", "image_std")) if theirs in said}
    )


def _remarks(found: Found, renamed: Renamed | None) -> tuple[str, ...]:
    """What was taken, renamed and left over."""
    remarks = []
    if found.taken:
        way = ", ".join(one.removesuffix(".") for one in found.taken)
        beside = f", not {' and '.join(one.removesuffix('.') for one in found.passed)}" if found.passed else ""
        remarks.append(f"taken from {way}{beside}")
    if renamed is not None and renamed.changed and found.layout is not None:
        remarks.append(f"{renamed.changed} of {len(found.tensors)} tensors renamed from {found.layout.title} layout")
    needless = renamed.left_out if renamed is not None else []
    roots = [re.sub(r"^(module\.)*", "", name).split(".")[0] for name in found.left_over]
    roots += [re.split(r"\.(?:\d|weight|bias)", name)[0] for name in needless]
    if roots:
        remarks.append(
            f"{len(roots)} tensor{'s' if len(roots) > 1 else ''} left over ({name_some(list(dict.fromkeys(roots)))})"
        )
    return tuple(remarks)


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
        model_args=tuple(json.loads(metadata["model_args"])) if "model_args" in metadata else (),
    )


def _check_whole(file: Path) -> None:
    """Raise ConfigError if a file with a checksum, as samclr writes it, is damaged."""
    with safe_open(file, "pt") as opened:
        expected = (opened.metadata() or {}).get("checksum")
    if expected is not None and expected != checksum_of_weights(file.read_bytes()):
        raise ConfigError("its checksum does not fit: it is damaged")


def _side(size: Any) -> int | None:
    """The side of the square images that timm was asked to build for."""
    sides = size if isinstance(size, list) and size else [size]
    return sides[0] if isinstance(sides[0], int) and len(set(sides)) == 1 else None


def _stated(values: dict[str, Any]) -> Normalisation | None:
    if "mean" not in values and "std" not in values:
        return None
    found: Normalisation = from_dict(
        Normalisation, {name: values.get(name) for name in ("mean", "std")}, "what it says"
    )
    return found


def with_normalisation(model: ModelConfig) -> tuple[ModelConfig, str | None]:
    """The settings with their mean and std stated, and the sentence of `own_normalisation`."""
    own, assumed = own_normalisation(model)
    return replace(model, mean=own.mean, std=own.std), assumed


def own_normalisation(model: ModelConfig) -> tuple[Normalisation, str | None]:
    """By what the input of a backbone is normalised: as stated, else as its weights were trained, else ImageNet's.

    The second is a sentence where that had to be assumed, else None.

    Raises:
        ConfigError: the file of weights cannot be read, or timm has no weights of that tag.
    """
    if model.normalisation is not None:
        return model.normalisation, None
    if model.pretrained is None:
        return IMAGENET, None
    if model.pretrained != TIMM:
        facts = read_facts(located(model.pretrained))
        if facts.normalisation is not None and facts.normalisation_is_stated:
            return facts.normalisation, None
        if facts.normalisation is not None:
            return facts.normalisation, (
                f"{model.pretrained} does not say how its input was normalised: what is published of {facts.layout} "
                f"layout is assumed ({facts.normalisation}); state another with {option_of('mean')} and "
                f"{option_of('std')}"
            )
    trained = trained_config(model.backbone)
    own = IMAGENET if trained is None else Normalisation(trained.mean, trained.std)
    if model.pretrained == TIMM:
        return own, None
    whose = "ImageNet's" if trained is None else f"that of timm's {model.backbone}"
    return own, (
        f"{model.pretrained} does not say how its input was normalised: {whose} is assumed ({own}); "
        f"state another with {option_of('mean')} and {option_of('std')}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

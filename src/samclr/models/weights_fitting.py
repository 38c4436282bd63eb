"""Tensors by timm's names put into a backbone: all of its own, none left over, what does not fit is named."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samclr.config.pretrain import ModelConfig
from samclr.errors import ConfigError, name_some
from samclr.log import option_of, say_once
from samclr.models.names import architecture
from samclr.models.positions import resampled
from samclr.models.sizes import InputSizes, size_of_weights
from samclr.models.weights import COUNTERS, Facts


def load_weights(
    backbone: nn.Module, tensors: dict[str, Tensor], source: str, model: ModelConfig, remarks: Sequence[str] = ()
) -> None:
    """Put the tensors into the backbone: all of its own, and none left over but a classifier's, which is reported.

    remarks: of `open_weights`, said with it.

    Raises:
        ConfigError: they do not fit; what is missing, of another shape or kind, or left over is named.
    """
    wanted, said = backbone.state_dict(), list(remarks)
    tensors, grids = _with_places(backbone, tensors, wanted)
    said += [f"position embeddings resampled from {grids}"] if grids else []
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
            f"{_advice(backbone, fitting, wanted)}"
        )
    broken = [name for name, value in fitting.items() if not bool(torch.isfinite(value.float()).all())]
    if broken:
        raise ConfigError(f"the weights {source} are not finite in {name_some(broken)}; give an intact file")
    if left_out:
        said.append(f"the classifier is left out ({name_some(left_out)})")
    if said:
        say_once(f"the weights {source}: {'; '.join(said)}")
    backbone.load_state_dict(fitting, strict=False)


def _advice(backbone: nn.Module, fitting: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """What to do about weights that do not fit."""
    sizes = getattr(backbone, "input_sizes", None)
    is_other_shape = any(value.shape != wanted[name].shape for name, value in fitting.items())
    px = size_of_weights(sizes, fitting) if is_other_shape and isinstance(sizes, InputSizes) else None
    if px is not None:
        return (
            f"they are for images of {px} px, so give images of that size (pretrain: {option_of('size_px')} {px}; "
            f"otherwise: {option_of('image_px')} {px}), and no other {option_of('input_px')}"
        )
    return f"name the right ones with {option_of('backbone')} and {option_of('stem')}, or give weights of timm's names"


def _with_places(
    backbone: nn.Module, tensors: dict[str, Tensor], wanted: dict[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """Position embeddings of a ViT for the grid that it was built for, and between which grids they were resampled."""
    own: Any = backbone
    places, target = tensors.get("pos_embed"), wanted.get("pos_embed")
    if places is None or target is None or places.shape == target.shape or not getattr(own, "dynamic_img_size", False):
        return tensors, ""
    num_prefix = 0 if own.no_embed_class else own.num_prefix_tokens
    side = round((places.shape[1] - num_prefix) ** 0.5)
    if places.ndim != 3 or side * side != places.shape[1] - num_prefix or places.shape[2] != target.shape[2]:
        return tensors, ""
    rows, columns = own.patch_embed.grid_size
    found = resampled(places, num_prefix, (rows, columns), getattr(own, "pos_resampling", None))
    return tensors | {"pos_embed": found}, f"{side}x{side} to {rows}x{columns} patches"


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


def check_facts(facts: Facts, model: ModelConfig, source: str) -> None:
    """Compare what a file says of its weights with what they are loaded into.

    Raises:
        ConfigError: another backbone or stem.
    """
    if not facts.is_stated:
        return  # the tensors decide
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

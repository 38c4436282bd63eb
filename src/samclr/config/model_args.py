"""Arguments of a backbone beside its name, as text: `patch_size=8`. Nothing here imports torch.

They go to timm.create_model, but for DETAILS, which samclr sets itself, as timm takes no plain values for them.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from samclr.errors import ConfigError

DETAILS = ("norm_eps", "final_norm_eps", "pos_resampling")
Resampling = Literal["bicubic", "bicubic-offset"]  # of position embeddings, see samclr.models.positions
RESERVED = ("num_classes", "in_chans", "pretrained", "checkpoint_path", "dynamic_img_size", "dynamic_img_pad")
MOST_LAYERS, MOST_NUMBER = 1_000, 16_384
LAYERS = {"depth", "depths", "layers"}
SIZES = LAYERS | {"dim", "dims", "heads", "channels", "chs", "width", "widths", "patch"}
Arguments = tuple[tuple[str, Any], ...]  # of timm.create_model, hashable


def parse_arguments(texts: tuple[str, ...]) -> Arguments:
    """`("depth=2", "channels=[64, 128]")` -> `(("depth", 2), ("channels", (64, 128)))`.

    Raises:
        ConfigError: one has no `=`, is there twice, is samclr's own to set, or has a number that no model has.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier() or name in found:
            raise ConfigError(f"model_args has {text!r}; expected each argument once, as in patch_size=8", "model_args")
        if name in RESERVED:
            raise ConfigError(f"model_args has {name}, which samclr sets itself; leave it out", "model_args")
        found[name] = _value(value)
        _check_numbers(name, found[name])
    return tuple(found.items())


def argument_texts(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts that `parse_arguments` reads, in the order of their names."""
    return tuple(f"{name}={_text(value)}" for name, value in sorted(arguments.items()))


def for_timm(texts: tuple[str, ...]) -> Arguments:
    """What timm.create_model takes of them."""
    return tuple((name, value) for name, value in parse_arguments(texts) if name not in DETAILS)


def details_of(texts: tuple[str, ...]) -> dict[str, Any]:
    """What samclr sets itself of them."""
    return {name: value for name, value in parse_arguments(texts) if name in DETAILS}


def _check_numbers(name: str, value: Any) -> None:
    """Raise ConfigError for a number that no model has: timm would build on until there is no memory, or a model
    without layers or channels, which learns nothing."""
    most = MOST_LAYERS if "depth" in name or "layer" in name else MOST_NUMBER
    numbers = _numbers(value)
    for one in numbers:
        if not abs(one) <= most:
            raise ConfigError(f"model_args has {name}={_text(one)}; expected a number up to {most}", "model_args")
    words = set(name.removesuffix("_size").split("_"))
    # of several stages some may have no layer
    is_stage = isinstance(value, tuple) and bool(words & LAYERS) and any(one > 0 for one in numbers)
    if (words & SIZES or name == "mlp_ratio") and any(one < 0 or (one == 0 and not is_stage) for one in numbers):
        kind = "numbers" if isinstance(value, tuple) else "a number"
        raise ConfigError(
            f"model_args has {name}={_text(value)}, a model with nothing to learn; expected {kind} over 0", "model_args"
        )


def _numbers(value: Any) -> list[float]:
    """All numbers in a value, at any depth."""
    if isinstance(value, tuple):
        return [number for one in value for number in _numbers(one)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"True": True, "False": False, "None": None}.get(text, text)
    return _hashable(value)


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        raise ConfigError(f"model_args has the value {value}; expected a number, a word or a list", "model_args")
    return tuple(_hashable(one) for one in value) if isinstance(value, list) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

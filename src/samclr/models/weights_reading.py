"""The tensors in a file of weights, wherever in it they lie. Nothing in the file is run."""

import argparse
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from samclr.errors import ConfigError, name_some
from samclr.models.layouts.base import Layout, Tensors
from samclr.models.layouts.known import layout_of

CONTAINERS = ("teacher", "state_dict", "model_state_dict", "model", "target", "student", "backbone")
MOST_NESTED = 4
WRAPPERS = ("module.", "_orig_mod.")
PREFIXES = (  # the first that some name begins with is taken; names without it are left over
    *("teacher.", "base_encoder.", "encoder_q.", "target_encoder.", "online_encoder.", "teacher_backbone."),
    *("student.", "momentum_encoder.", "encoder_k.", "student_backbone.", "backbone.", "encoder.", "trunk."),
    *("vit.", "dinov2.", "dinov2_with_registers.", "dinov3_vit.", "resnet.", "convnext.", "vision_model.", "model."),
)
PAIRS = {  # of which one is taken and said
    "teacher": "student", "teacher.": "student.", "teacher_backbone.": "student_backbone.",
    "base_encoder.": "momentum_encoder.", "encoder_q.": "encoder_k.",
}  # fmt: skip
EXPECTED = "expected tensors by their names, alone or under state_dict, model, teacher or target"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a file holds.

    Attributes:
        tensors: of one backbone, by the names that its layout has.
        layout: the one that knows the names, if any.
        taken: the way to them: keys of dictionaries, then prefixes of names.
        passed: other sets of weights that were there, such as the student, and are not taken.
        left_over: names of tensors beside the way, such as heads, a queue, or the other encoder.
    """

    tensors: Tensors
    layout: Layout | None
    taken: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()


def read_found(file: Path, source: str) -> Found:
    """The tensors of a file, on the CPU. source: what an error calls it.

    Raises:
        ConfigError: it is damaged, or holds something else.
    """
    return find_tensors(_read(file, source), source)


def find_tensors(content: Any, source: str) -> Found:
    """Follow dictionaries and prefixes to the tensors of one backbone.

    Raises:
        ConfigError: there are other things than tensors, or none.
    """
    taken: list[str] = []
    passed: list[str] = []
    while len(taken) < MOST_NESTED and not any(isinstance(value, Tensor) for value in content.values()):
        key = next((one for one in CONTAINERS if isinstance(content.get(one), dict)), None)
        if key is None:
            break
        taken.append(key)
        passed += [name for name, value in content.items() if name != key and _is_set(value)]
        content = content[key]
    if not all(isinstance(name, str) for name in content):
        raise _unreadable(source, "names that are no text")
    other = [f"{name} ({type(value).__name__})" for name, value in content.items() if not _is_plain(value)]
    if other or not content:
        raise ConfigError(f"{source} holds {name_some(other) if other else 'nothing'}; {EXPECTED}")
    return _below_prefixes(content, taken, passed)


def _below_prefixes(tensors: Tensors, taken: list[str], passed: list[str]) -> Found:
    """Take prefixes off until a layout knows the names; where none does, those alone that all names have."""
    common, left_over, steps, others = tensors, [], list(taken), list(passed)
    num_common, found = len(steps), tensors
    while (layout := layout_of(found)) is None:
        prefix = _prefix(found)
        if prefix is None:
            return Found(tensors=common, layout=None, taken=tuple(steps[:num_common]), passed=tuple(passed))
        below = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
        pair = PAIRS.get(prefix)
        others += [pair] if pair and any(name.startswith(pair) for name in found) else []
        left_over += ["".join(steps[len(taken) :]) + name for name in found if not name.startswith(prefix)]
        steps.append(prefix)
        found = below
        if prefix in WRAPPERS and not left_over:
            common, num_common = below, len(steps)
    return Found(tensors=found, layout=layout, taken=tuple(steps), passed=tuple(others), left_over=tuple(left_over))


def _prefix(tensors: Tensors) -> str | None:
    whole = next((one for one in WRAPPERS if all(name.startswith(one) for name in tensors)), None)
    return whole or next((one for one in PREFIXES if any(name.startswith(one) for name in tensors)), None)


def _is_set(value: object) -> bool:
    """A loss may keep a tensor, such as its centre; a set has more."""
    return isinstance(value, dict) and sum(isinstance(one, Tensor) for one in value.values()) > 1


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _read(file: Path, source: str) -> dict[Any, Any]:
    reader: Callable[[Path], Any] = load_file if file.suffix == ".safetensors" else _unpickled
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about foreign files
            content = reader(file)
    except SafetensorError as error:
        raise ConfigError(f"{source} is not a complete safetensors file ({_first_line(error)}); give another") from None
    except Exception as error:  # unpickling raises anything on broken or foreign bytes
        refused = _refused(file, error)
        if refused:
            raise ConfigError(
                f"{source} holds {name_some(refused)}, which could run code and is not read; only tensors, plain "
                f"values and argparse.Namespace are: save the weights alone, by torch.save(model.state_dict(), FILE)"
            ) from None
        raise _unreadable(source, type(error).__name__) from None
    if not isinstance(content, dict):
        raise _unreadable(source, type(content).__name__)
    return content


def _unpickled(file: Path) -> Any:
    """DINO's and MAE's checkpoints hold their command line, an argparse.Namespace."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(file, map_location="cpu", weights_only=True)


def _refused(file: Path, error: Exception) -> list[str]:
    """Names of what torch did not allow, as `os.system`; none where the file has another fault."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
    except Exception:  # an older format, or foreign bytes: torch's own message names one
        names = re.findall(r"GLOBAL ([\w.]+) was not an allowed", str(error))
    return sorted(names)


def _unreadable(source: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{source} holds no weights that can be read ({reason}): it is damaged, or holds other things than tensors; "
        f"{EXPECTED}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

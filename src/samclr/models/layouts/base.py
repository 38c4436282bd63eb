"""What a layout is: names by which it is known, rules from its names to timm's, and the timm model that it is."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from samclr.config.model import Stem
from samclr.config.normalisation import Normalisation
from samclr.errors import ConfigError

Tensors = dict[str, Tensor]
Config = Mapping[str, Any]  # config.json of a folder in the Hugging Face layout, else empty
Rules = tuple[tuple[str, str], ...]  # pattern of a whole name, and the name by timm; the first that fits is taken


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A timm model.

    Attributes:
        name: timm's, or None where the tensors do not tell it.
        arguments: those that differ from timm's own, see samclr.config.model_args.
        stem: of a ResNet, see ModelConfig; None is the standard one.
        unknown: arguments that the tensors do not tell, which the user must state.
        normalisation: the published one where the layout has several.
    """

    name: str | None
    arguments: dict[str, Any] = field(default_factory=dict)
    stem: Stem | None = None
    unknown: tuple[str, ...] = ()
    normalisation: Normalisation | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one family's tensors become timm's.

    Attributes:
        title: as a message says it.
        marks: patterns of names; a file is of this layout if each of them fits a whole name.
        rules: from its names to timm's; what no rule fits keeps its name.
        left_out: patterns of names, by timm, of what features do not need: heads, decoders, mask tokens.
        arrange: from the renamed tensors to timm's own, where two become one or a shape differs.
        describe: which timm model the tensors, those left out too, and config.json are of.
        model_types: `model_type` in its config.json, if it has one.
        normalisation: the published one, None where there are several.
    """

    title: str
    marks: tuple[str, ...]
    rules: Rules = ()
    left_out: tuple[str, ...] = ()
    arrange: Callable[[Tensors], Tensors] = dict
    describe: Callable[[Tensors, Config], Architecture]
    model_types: tuple[str, ...] = ()
    normalisation: Normalisation | None = None

    def knows(self, names: list[str]) -> bool:
        """Whether the names are of this layout."""
        return all(any(re.fullmatch(mark, name) for name in names) for mark in self.marks)


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """Tensors by timm's names.

    Attributes:
        tensors: of the backbone.
        changed: how many names are others than in the file.
        left_out: names, as in the file, of what features do not need.
        architecture: of the timm model.
    """

    tensors: Tensors
    changed: int
    left_out: list[str]
    architecture: Architecture


def rename(layout: Layout, tensors: Tensors, config: Config) -> Renamed:
    """The tensors by timm's names, and the model that they are of.

    Raises:
        ConfigError: two get one name, or they cannot be arranged.
    """
    compiled = [(re.compile(pattern), name) for pattern, name in layout.rules]
    found: Tensors = {}
    needless: Tensors = {}
    left_out, changed = [], 0
    for name, tensor in tensors.items():
        new = next((pattern.sub(to, name) for pattern, to in compiled if pattern.fullmatch(name)), name)
        if any(re.fullmatch(pattern, new) for pattern in layout.left_out):
            left_out.append(name)
            needless[new] = tensor
            continue
        if new in found:
            raise ConfigError(f"it holds {new} twice, once as {name}")
        found[new] = tensor
        changed += new != name
    arranged = layout.arrange(found)
    try:
        architecture = layout.describe(arranged | needless, config)
    except ConfigError:
        if layout.rules:
            raise
        architecture = Architecture(name=None)  # another of timm's models, whose tensors have the same names
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigError(f"it looks like {layout.title} layout, but is incomplete ({error})") from None
    return Renamed(tensors=arranged, changed=changed, left_out=left_out, architecture=architecture)


def fused_qkv(tensors: Tensors) -> Tensors:
    """Queries, keys and values that are three tensors each (`...attn.q.weight`) become timm's one (`...attn.qkv`)."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        part = re.fullmatch(r"(.*\.attn\.)([qkv])\.(weight|bias)", name)
        if part is None:
            found[name] = tensor
        elif part[2] == "q":
            rest = [tensors.get(f"{part[1]}{letter}.{part[3]}") for letter in "kv"]
            if any(one is None or one.shape != tensor.shape for one in rest):
                raise ConfigError(f"it holds {name} without keys and values of its shape")
            found[f"{part[1]}qkv.{part[3]}"] = torch.cat([tensor, *(one for one in rest if one is not None)])
    return found

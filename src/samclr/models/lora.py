"""LoRA (Hu et al., ICLR 2022): low-rank updates of linear layers, by peft, and their sum with the weights they update.

Merging needs no peft, so a run is measured and exported where it is missing.
"""

import importlib.util
import re
from typing import Any

import torch
from torch import Tensor, nn

from samclr.config.pretrain import ModelConfig
from samclr.errors import ConfigError, UsageError
from samclr.log import option_of
from samclr.models.layer_groups import name_of
from samclr.models.sizes import InputSizes

ATTENTION, MLP = r"(^|\.)attn", r"(^|\.)mlp"  # in the names of timm's layers
BASE, DOWN, UP = ".base_layer", ".lora_A.default", ".lora_B.default"  # in peft's names


def add_lora(backbone: nn.Module, config: ModelConfig, size_px: int) -> None:
    """Give the attention layers that are not frozen low-rank updates, in place; only they can be trained then.

    The backbone's features stay as they are: updates begin at zero.

    size_px: of images that the backbone takes.

    Raises:
        UsageError, ConfigError: as lora_layers.
    """
    names = lora_layers(backbone, config, size_px)
    from peft import LoraConfig, inject_adapter_in_model

    sizes: dict[str, Any] = {"r": config.lora_rank, "lora_alpha": config.lora_alpha or config.lora_rank}
    targets = "|".join(map(re.escape, names))
    inject_adapter_in_model(LoraConfig(**sizes, target_modules=targets, lora_dropout=0.0, bias="none"), backbone)


def lora_layers(backbone: nn.Module, config: ModelConfig, size_px: int) -> list[str]:
    """Names of the linear layers of attention (and MLPs, if asked for) that a forward pass calls.

    Some models of timm (BEiT) compute with a layer's weights themselves; an update of the layer would do nothing.

    Raises:
        UsageError: peft, which makes the updates, is not installed.
        ConfigError: there are no such layers.
    """
    if importlib.util.find_spec("peft") is None:
        raise UsageError(f"{option_of('lora_rank')} needs peft: pip install 'samclr[lora]'")
    sizes: InputSizes | None = getattr(backbone, "input_sizes", None)
    trial = None if sizes is None else sizes.trial
    wanted = ATTENTION if config.lora_layers == "attention" else f"{ATTENTION}|{MLP}"
    called = set() if trial is None else _called(trial, size_px)
    linear = {name: one for name, one in backbone.named_modules() if type(one) is nn.Linear and re.search(wanted, name)}
    missed = [name for name in linear if name not in called and re.search(ATTENTION, name)]
    found = [name for name, layer in linear.items() if name in called and layer.weight.requires_grad]
    if missed or not found:
        why = f"computes with the weights of {missed[0]} outside of it" if missed else "has none that could be trained"
        raise ConfigError(
            f"{option_of('lora_rank')} is for linear layers of attention, as ViTs have them; {name_of(backbone)} {why}",
            "lora_rank",
        )
    return found


def merged(weights: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Weights of a backbone with its updates added, scale * up @ down, under the names it had without them."""
    found = {name.replace(f"{BASE}.", "."): value for name, value in weights.items() if ".lora_" not in name}
    for name, down in weights.items():
        layer, _, rest = name.partition(f"{DOWN}.")
        if rest == "weight":
            up, base = weights[f"{layer}{UP}.weight"], found[f"{layer}.weight"]
            found[f"{layer}.weight"] = (base.double() + scale * up.double() @ down.double()).to(base.dtype)
    return found


def _called(trial: nn.Module, size_px: int) -> set[str]:
    """Names of the linear layers that a model on the meta device calls for two images."""
    called: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.add(name))
        for name, module in trial.named_modules()
        if type(module) is nn.Linear
    ]
    mode = trial.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            trial.eval()(torch.zeros(2, 3, size_px, size_px, device="meta"))
    finally:
        trial.train(mode)
        for hook in hooks:
            hook.remove()
    return called

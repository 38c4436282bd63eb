"""Which timm ViT tensors by timm's names are of: its name, and the arguments that differ from timm's own."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from samclr.errors import ConfigError
from samclr.models.layouts.base import Architecture, Config, Tensors
from samclr.models.names import may_be_backbone
from samclr.models.sizes import trial_model

WORDS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1152: "so400m", 1280: "huge", 1536: "giant"}
HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16}  # widths whose heads are not 64 wide
ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu"}
OF_CLASSES = {"GELU": "gelu", "QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh", "SiLU": "silu"}
LAYER_SCALE = 1e-5  # what layer scales begin at; trained ones replace it


def vit_architecture(
    tensors: Tensors, config: Config, names: tuple[str, ...], more: Mapping[str, Any] | None = None
) -> Architecture:
    """The first of `names` that timm has, with what is different.

    Args:
        names: with {word} for the width, {patch} and {px}; the last one is a name without them.
        more: arguments that the tensors do not tell.

    Raises:
        ConfigError: the position embeddings are not of square images, or the activation is none of timm's.
    """
    patch, width = tensors["patch_embed.proj.weight"].shape[-1], tensors["patch_embed.proj.weight"].shape[0]
    has_class, registers = "cls_token" in tensors, _registers(tensors)
    no_embed_class = registers > 0
    grid = math.isqrt(places := tensors["pos_embed"].shape[1] - (has_class and not no_embed_class))
    if grid * grid != places:
        raise ConfigError(f"it has position embeddings of {places} patches, which are not a square")
    heads = config.get("num_attention_heads") or HEADS.get(width) or (width // 64 if width % 64 == 0 else None)
    wanted = {
        "img_size": grid * patch,
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth_of(tensors),
        "num_heads": heads,
        "hidden": tensors["blocks.0.mlp.fc1.weight"].shape[0],
        "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
        "layer_scale": "blocks.0.ls1.gamma" in tensors,
        "class_token": has_class,
        "reg_tokens": registers,
        "no_embed_class": no_embed_class,
        "pre_norm": "norm_pre.weight" in tensors,
        "act_layer": _activation(config),
        "norm_eps": config.get("layer_norm_eps"),
    }
    wanted |= more or {}
    filled = (one.format(word=WORDS.get(width, ""), patch=patch, px=grid * patch) for one in names)
    name = next(one for one in filled if may_be_backbone(one))
    return Architecture(name=name, arguments=differences(wanted, own_vit(name)))


def depth_of(tensors: Tensors) -> int:
    """The number of blocks."""
    return 1 + max(int(found[1]) for name in tensors if (found := re.match(r"blocks\.(\d+)\.", name)))


def differences(wanted: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that make timm's model what is wanted; what is None is left as timm has it."""
    found = {key: value for key, value in wanted.items() if value is not None and own.get(key) != value}
    hidden, width = found.pop("hidden", None), wanted["embed_dim"]
    if hidden is None and "embed_dim" in found:
        hidden = wanted["hidden"]
    if hidden is not None and (ratio := ratio_of(hidden, width)) != own["mlp_ratio"]:
        found["mlp_ratio"] = ratio
    if "layer_scale" in found:
        found["init_values"] = LAYER_SCALE if found.pop("layer_scale") else None
    return found


def ratio_of(hidden: int, width: int) -> float:
    """The ratio whose product with the width timm rounds down to `hidden`."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


@lru_cache(maxsize=32)
def own_vit(name: str) -> dict[str, Any]:
    """What timm builds a VisionTransformer with."""
    model: Any = trial_model(name, ())
    block = model.blocks[0]
    hidden = block.mlp.fc1.weight.shape[0]
    return {
        "img_size": model.patch_embed.img_size[0],
        "patch_size": model.patch_embed.patch_size[0],
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "hidden": hidden,
        "mlp_ratio": hidden / model.embed_dim,
        "qkv_bias": block.attn.qkv.bias is not None,
        "layer_scale": not isinstance(block.ls1, nn.Identity),
        "class_token": model.cls_token is not None,
        "reg_tokens": model.num_reg_tokens,
        "no_embed_class": model.no_embed_class,
        "pre_norm": not isinstance(model.norm_pre, nn.Identity),
        "act_layer": OF_CLASSES.get(type(block.mlp.act).__name__),
        "norm_eps": model.norm.eps,
        "global_pool": model.global_pool,
    }


def _registers(tensors: Tensors) -> int:
    return tensors["reg_token"].shape[1] if "reg_token" in tensors else 0


def _activation(config: Config) -> str | None:
    named = config.get("hidden_act")
    if named is None:
        return None
    if named not in ACTIVATIONS:
        raise ConfigError(f"its config.json has the hidden_act {named!r}; expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[named]


def folded_class_place(tensors: Tensors) -> Tensors:
    """Where there are registers, timm adds no position to the class token: it is added here, once."""
    if "reg_token" not in tensors:
        return tensors
    places = tensors["pos_embed"]
    return tensors | {"cls_token": tensors["cls_token"] + places[:, :1], "pos_embed": places[:, 1:]}

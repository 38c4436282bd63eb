"""DINOv3's ViTs: Meta's files (dinov3/models/vision_transformer.py) and Hugging Face's (modeling_dinov3_vit.py)."""

from functools import lru_cache
from typing import Any

import torch

from samclr.config.normalisation import IMAGENET
from samclr.errors import ConfigError
from samclr.models.layouts.base import Architecture, Config, Layout, Rules, Tensors, fused_qkv
from samclr.models.layouts.vit import depth_of, differences
from samclr.models.names import may_be_backbone
from samclr.models.sizes import trial_model

WORDS = {384: "small", 768: "base", 1024: "large", 1280: "huge_plus", 4096: "7b"}
ROPE_TOLERANCE = 0.02  # Meta's periods may be in bfloat16
META_RULES: Rules = (
    (r"storage_tokens", "reg_token"),
    (r"blocks\.(\d+)\.ls([12])\.gamma", r"blocks.\1.gamma_\2"),
    (r"blocks\.(\d+)\.mlp\.w1\.(.*)", r"blocks.\1.mlp.fc1_g.\2"),
    (r"blocks\.(\d+)\.mlp\.w2\.(.*)", r"blocks.\1.mlp.fc1_x.\2"),
    (r"blocks\.(\d+)\.mlp\.w3\.(.*)", r"blocks.\1.mlp.fc2.\2"),
)
HUGGING_FACE_RULES: Rules = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.patch_embeddings\.(.*)", r"patch_embed.proj.\1"),
    (r"layer\.(\d+)\.attention\.(q|k|v)_proj\.(.*)", r"blocks.\1.attn.\2.\3"),
    (r"layer\.(\d+)\.attention\.o_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.gamma_\2"),
    (r"layer\.(\d+)\.mlp\.gate_proj\.(.*)", r"blocks.\1.mlp.fc1_g.\2"),
    (r"layer\.(\d+)\.mlp\.down_proj\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (r"layer\.(\d+)\.mlp\.up_proj\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"layer\.(\d+)\.(norm[12])\.(.*)", r"blocks.\1.\2.\3"),
)


def _of_meta(tensors: Tensors) -> Tensors:
    """One bias for all three becomes timm's two, as keys have none; a checkpoint says so by its mask."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith(".attn.qkv.bias"):
            block, third = name.removesuffix("qkv.bias"), tensor.shape[0] // 3
            mask = tensors.get(f"{name}_mask")
            masked = torch.nan_to_num(tensor * mask) if mask is not None else tensor
            found |= {f"{block}{part}_bias": masked[i * third : (i + 1) * third] for i, part in enumerate("qkv")}
        elif not name.endswith(".attn.qkv.bias_mask"):
            found[name] = tensor
    return _biases(found)


def _of_hugging_face(tensors: Tensors) -> Tensors:
    found: Tensors = {}
    gated = "blocks.0.mlp.fc1_g.weight" in tensors
    for name, tensor in tensors.items():
        part, is_bias = name.split(".")[-2:][0], name.endswith(".bias")
        if is_bias and ".attn." in name and part in ("q", "k", "v"):
            name = f"{name.removesuffix(f'{part}.bias')}{part}_bias"
        elif gated and part == "fc1":
            name = name.replace(".fc1.", ".fc1_x.")
        if tensor.numel() or name != "reg_token":
            found[name] = tensor
    return _biases(fused_qkv(found))


def _biases(tensors: Tensors) -> Tensors:
    """Without the biases of keys, which change no attention; without any where all are zero, as published ones are."""
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith(".attn.k_bias")}
    biases = [name for name in found if name.endswith(("attn.q_bias", "attn.v_bias"))]
    if any(bool(found[name].any()) for name in biases):
        return found
    return {name: tensor for name, tensor in found.items() if name not in biases}


def _architecture(tensors: Tensors, config: Config) -> Architecture:
    patch, width = tensors["patch_embed.proj.weight"].shape[-1], tensors["patch_embed.proj.weight"].shape[0]
    gated, with_bias = "blocks.0.mlp.fc1_g.weight" in tensors, "blocks.0.attn.q_bias" in tensors
    word = WORDS.get(width, "small")
    if gated and word == "small":
        word = "small_plus"
    end = "_qkvb" if with_bias else ""
    default = "vit_small_plus_patch16_dinov3" if gated else "vit_small_patch16_dinov3"
    name = next(one for one in (f"vit_{word}_patch16_dinov3{end}", f"{default}{end}") if may_be_backbone(one))
    periods, own = tensors.get("rope_embed.periods"), _own(name)
    heads = config.get("num_attention_heads")
    if periods is not None:
        heads = width // (4 * periods.shape[0])
        _check_periods(periods)
    wanted = {
        "global_pool": "token",
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth_of(tensors),
        "num_heads": heads or width // 64,
        "hidden": tensors[f"blocks.0.mlp.{'fc1_g' if gated else 'fc1'}.weight"].shape[0],
        "swiglu_mlp": gated,
        "num_reg_tokens": tensors["reg_token"].shape[1] if "reg_token" in tensors else 0,
        "rope_temperature": config.get("rope_theta"),
        "norm_eps": config.get("layer_norm_eps"),
    }
    arguments = differences(wanted, own)
    if gated and "mlp_ratio" in arguments:
        arguments["swiglu_align_to"] = 1
    return Architecture(name=name, arguments=arguments)


def _check_periods(periods: torch.Tensor) -> None:
    number = periods.shape[0]
    own = 100.0 ** (torch.arange(number, dtype=torch.float32) / number)
    if not torch.allclose(periods.float(), own, rtol=ROPE_TOLERANCE):
        raise ConfigError("its rope_embed.periods are not those of a base of 100, which timm's DINOv3 has")


@lru_cache(maxsize=16)
def _own(name: str) -> dict[str, Any]:
    model: Any = trial_model(name, ())
    block = model.blocks[0]
    hidden = (block.mlp.fc1_g if hasattr(block.mlp, "fc1_g") else block.mlp.fc1).weight.shape[0]
    return {
        "global_pool": model.global_pool,
        "patch_size": model.patch_embed.patch_size[0],
        "embed_dim": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "hidden": hidden,
        "mlp_ratio": hidden / model.embed_dim,
        "swiglu_mlp": hasattr(block.mlp, "fc1_g"),
        "num_reg_tokens": model.num_prefix_tokens - 1,
        "rope_temperature": model.rope.temperature,
        "norm_eps": model.norm.eps,
    }


LAYOUTS = (
    Layout(
        title="Hugging Face's DINOv3",
        marks=(r"embeddings\.patch_embeddings\.weight", r"layer\.0\.attention\.k_proj\.weight"),
        rules=HUGGING_FACE_RULES,
        left_out=(r"embeddings\.mask_token",),
        arrange=_of_hugging_face,
        describe=_architecture,
        model_types=("dinov3_vit",),
        normalisation=IMAGENET,
    ),
    Layout(
        title="DINOv3's own",
        marks=(r"patch_embed\.proj\.weight", r"rope_embed\.periods", r"blocks\.0\.attn\.qkv\.weight"),
        rules=META_RULES,
        left_out=(r"mask_token", r"rope_embed\.periods", r"local_cls_norm\..*"),
        arrange=_of_meta,
        describe=_architecture,
        normalisation=IMAGENET,
    ),
)

"""Hugging Face's ViT and DINOv2, with registers and without (transformers: modeling_vit.py, modeling_dinov2.py)."""

import torch

from samclr.config.normalisation import IMAGENET
from samclr.models.layouts.base import Architecture, Config, Layout, Rules, Tensors, fused_qkv
from samclr.models.layouts.vit import folded_class_place, vit_architecture

BLOCK = r"(?:encoder\.layer|layers)\.(\d+)"  # the latter in a model of transformers 5, which saves the former
SHARED: Rules = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(.*)", r"patch_embed.proj.\1"),
    (rf"{BLOCK}\.attention\.(?:attention\.)?(q|k|v)(?:uery|ey|alue|_proj)\.(.*)", r"blocks.\1.attn.\2.\3"),
    (rf"{BLOCK}\.attention\.(?:output\.dense|o_proj)\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"layernorm\.(.*)", r"norm.\1"),
)
VIT_RULES: Rules = (
    *SHARED,
    (rf"{BLOCK}\.layernorm_before\.(.*)", r"blocks.\1.norm1.\2"),
    (rf"{BLOCK}\.layernorm_after\.(.*)", r"blocks.\1.norm2.\2"),
    (rf"{BLOCK}\.(?:intermediate\.dense|mlp\.fc1)\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (rf"{BLOCK}\.(?:output\.dense|mlp\.fc2)\.(.*)", r"blocks.\1.mlp.fc2.\2"),
)
DINOV2_RULES: Rules = (
    *SHARED,
    (r"embeddings\.register_tokens", "reg_token"),
    (rf"{BLOCK}\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (rf"{BLOCK}\.mlp\.weights_in\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (rf"{BLOCK}\.mlp\.(?:weights_out|down_proj)\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (rf"{BLOCK}\.(.*)", r"blocks.\1.\2"),
)


def _arranged(tensors: Tensors) -> Tensors:
    """Also the gate and what it gates, which are one tensor in files and two in transformers 5."""
    found = {name: tensor for name, tensor in tensors.items() if ".mlp.up_proj." not in name}
    for name in [one for one in found if ".mlp.gate_proj." in one]:
        both = [found.pop(name), tensors[name.replace("gate_proj", "up_proj")]]
        found[name.replace("gate_proj", "fc1")] = torch.cat(both)
    return folded_class_place(fused_qkv(found))


def _vit(tensors: Tensors, config: Config) -> Architecture:
    names = ("vit_{word}_patch{patch}_{px}", "vit_{word}_patch{patch}_224", "vit_small_patch16_224")
    return vit_architecture(tensors, config, names, {"pos_resampling": "bicubic"})


def dinov2(tensors: Tensors, config: Config, resampling: str | None) -> Architecture:
    """A DINOv2. resampling: of position embeddings, of a model without registers."""
    with_registers = "reg_token" in tensors
    middle = "patch14_reg4_dinov2" if with_registers else "patch14_dinov2"
    if tensors["blocks.0.mlp.fc1.weight"].shape[0] != tensors["blocks.0.mlp.fc2.weight"].shape[1]:  # gated
        names: tuple[str, ...] = (f"vit_giant_{middle}",)
        config = {key: value for key, value in config.items() if key != "hidden_act"}
    else:
        names = (f"vit_{{word}}_{middle}", f"vit_small_{middle}")
    return vit_architecture(
        tensors, config, names, {} if with_registers or resampling is None else {"pos_resampling": resampling}
    )


LAYOUTS = (
    Layout(
        title="Hugging Face's DINOv2",
        marks=(r"embeddings\.patch_embeddings\.projection\.weight", r"encoder\.layer\.0\.layer_scale1\.lambda1"),
        rules=DINOV2_RULES,
        left_out=(r"embeddings\.mask_token",),
        arrange=_arranged,
        describe=lambda tensors, config: dinov2(tensors, config, "bicubic"),
        model_types=("dinov2", "dinov2_with_registers"),
        normalisation=IMAGENET,
    ),
    Layout(
        title="Hugging Face's ViT",
        marks=(
            r"embeddings\.patch_embeddings\.projection\.weight",
            r"(encoder\.layer|layers)\.0\.layernorm_before\.weight",
        ),
        rules=VIT_RULES,
        left_out=(r"pooler\..*", r"embeddings\.mask_token"),
        arrange=fused_qkv,
        describe=_vit,
        model_types=("vit",),
    ),
)

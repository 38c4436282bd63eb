"""Hugging Face's ViT and DINOv2, with registers and without (transformers: modeling_vit.py, modeling_dinov2.py)."""

from samclr.config.normalisation import IMAGENET
from samclr.models.layouts.base import Architecture, Config, Layout, Rules, Tensors, fused_qkv
from samclr.models.layouts.vit import folded_class_place, vit_architecture

SHARED: Rules = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(.*)", r"patch_embed.proj.\1"),
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(q|k|v)[a-z]+\.(.*)", r"blocks.\1.attn.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"layernorm\.(.*)", r"norm.\1"),
)
VIT_RULES: Rules = (
    *SHARED,
    (r"encoder\.layer\.(\d+)\.layernorm_before\.(.*)", r"blocks.\1.norm1.\2"),
    (r"encoder\.layer\.(\d+)\.layernorm_after\.(.*)", r"blocks.\1.norm2.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(.*)", r"blocks.\1.mlp.fc2.\2"),
)
DINOV2_RULES: Rules = (
    *SHARED,
    (r"embeddings\.register_tokens", "reg_token"),
    (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_in\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_out\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.layer\.(\d+)\.(.*)", r"blocks.\1.\2"),
)


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
        arrange=lambda tensors: folded_class_place(fused_qkv(tensors)),
        describe=lambda tensors, config: dinov2(tensors, config, "bicubic"),
        model_types=("dinov2", "dinov2_with_registers"),
        normalisation=IMAGENET,
    ),
    Layout(
        title="Hugging Face's ViT",
        marks=(r"embeddings\.patch_embeddings\.projection\.weight", r"encoder\.layer\.0\.layernorm_before\.weight"),
        rules=VIT_RULES,
        left_out=(r"pooler\..*", r"embeddings\.mask_token"),
        arrange=fused_qkv,
        describe=_vit,
        model_types=("vit",),
    ),
)

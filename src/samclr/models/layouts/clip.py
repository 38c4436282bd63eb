"""The vision towers of Hugging Face's CLIP and SigLIP (transformers: modeling_clip.py, modeling_siglip.py)."""

from samclr.config.normalisation import Normalisation
from samclr.models.layouts.base import Architecture, Config, Layout, Rules, Tensors, fused_qkv
from samclr.models.layouts.vit import vit_architecture

OPENAI = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
RULES: Rules = (
    (r"embeddings\.class_embedding", "cls_token"),
    (r"embeddings\.patch_embedding\.(.*)", r"patch_embed.proj.\1"),
    (r"embeddings\.position_embedding\.weight", "pos_embed"),
    (r"pre_layrnorm\.(.*)", r"norm_pre.\1"),
    (r"encoder\.layers\.(\d+)\.layer_norm([12])\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn\.(q|k|v)_proj\.(.*)", r"blocks.\1.attn.\2.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.(.*)", r"blocks.\1.mlp.\2"),
    (r"post_layernorm\.(.*)", r"norm.\1"),
    (r"head\.probe", "attn_pool.latent"),
    (r"head\.attention\.(in_proj)_(weight|bias)", r"attn_pool.\1.\2"),
    (r"head\.attention\.out_proj\.(.*)", r"attn_pool.proj.\1"),
    (r"head\.layernorm\.(.*)", r"attn_pool.norm.\1"),
    (r"head\.mlp\.(.*)", r"attn_pool.mlp.\1"),
)


def _arranged(tensors: Tensors) -> Tensors:
    """Embeddings get timm's leading axes, and the pooling's one projection becomes one of the query and one of both."""
    found = fused_qkv(tensors)
    found["pos_embed"] = found["pos_embed"][None]
    if "cls_token" in found:
        found["cls_token"] = found["cls_token"][None, None]
    for kind in ("weight", "bias"):
        joined = found.pop(f"attn_pool.in_proj.{kind}", None)
        if joined is not None:
            width = joined.shape[0] // 3
            found |= {f"attn_pool.q.{kind}": joined[:width], f"attn_pool.kv.{kind}": joined[width:]}
    return found


def _clip(tensors: Tensors, config: Config) -> Architecture:
    config = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, **config}
    kind = "clip_quickgelu" if config["hidden_act"] == "quick_gelu" else "clip"
    stem = f"vit_{{word}}_patch{{patch}}_{kind}_"
    names = (f"{stem}{{px}}", f"{stem}224", f"vit_base_patch32_{kind}_224")
    return vit_architecture(tensors, config, names, {"pos_resampling": "bicubic"})


def _siglip(tensors: Tensors, config: Config) -> Architecture:
    config = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, **config}
    pooled = "attn_pool.latent" in tensors
    kind = "siglip" if pooled else "siglip_gap"
    names = (f"vit_{{word}}_patch{{patch}}_{kind}_{{px}}", f"vit_base_patch16_{kind}_224")
    return vit_architecture(tensors, config, names, {"pos_resampling": "bicubic"})


TOWER = (r"embeddings\.patch_embedding\.weight", r"encoder\.layers\.0\.self_attn\.q_proj\.weight")
LAYOUTS = (
    Layout(
        title="Hugging Face's CLIP",
        marks=(*TOWER, r"embeddings\.class_embedding", r"pre_layrnorm\.weight"),
        rules=RULES,
        left_out=(r"embeddings\.position_ids",),
        arrange=_arranged,
        describe=_clip,
        model_types=("clip", "clip_vision_model"),
        normalisation=OPENAI,
    ),
    Layout(
        title="Hugging Face's SigLIP",
        marks=(*TOWER, r"post_layernorm\.weight"),
        rules=RULES,
        left_out=(r"embeddings\.position_ids",),
        arrange=_arranged,
        describe=_siglip,
        model_types=("siglip", "siglip_vision_model"),
        normalisation=HALF,
    ),
)

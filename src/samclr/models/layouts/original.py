"""ViTs in the files of DINO, iBOT, MAE and MoCo v3, whose names are timm's, and of DINOv2 and torchvision.

Names and shapes were read off facebookresearch/dino, bytedance/ibot, facebookresearch/mae, facebookresearch/moco-v3
and facebookresearch/dinov2.
"""

from dataclasses import replace

from samclr.config.normalisation import IMAGENET
from samclr.models.layouts.base import Architecture, Config, Layout, Rules, Tensors
from samclr.models.layouts.hugging_face_vit import dinov2
from samclr.models.layouts.vit import folded_class_place, vit_architecture

PLAIN = (r"cls_token", r"pos_embed", r"patch_embed\.proj\.weight", r"blocks\.0\.attn\.qkv\.weight", r"norm\.weight")
NAMES = ("vit_{word}_patch{patch}_{px}", "vit_{word}_patch{patch}_224", "vit_small_patch16_224")
MOCO_V3_SMALL = 384  # its ViT-S has twelve heads of 32; DINO's and MAE's have six of 64
OF_MOCO_V3 = ("base_encoder.", "momentum_encoder.")
OFFSET = "bicubic-offset"  # of DINO, iBOT and DINOv2, see samclr.models.positions
DINOV2_RULES: Rules = (
    (r"register_tokens", "reg_token"),
    (r"blocks\.\d+\.(\d+)\.mlp\.w12\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"blocks\.\d+\.(\d+)\.mlp\.w3\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (r"blocks\.(\d+)\.mlp\.w12\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"blocks\.(\d+)\.mlp\.w3\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (r"blocks\.\d+\.(\d+)\.(.*)", r"blocks.\1.\2"),
)
TORCHVISION_RULES: Rules = (
    (r"class_token", "cls_token"),
    (r"conv_proj\.(.*)", r"patch_embed.proj.\1"),
    (r"encoder\.pos_embedding", "pos_embed"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(.*)", r"blocks.\1.attn.qkv.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.ln\.(.*)", r"norm.\1"),
)


def _plain(tensors: Tensors, config: Config) -> Architecture:
    """A ViT of timm's names; the way through the file, `taken`, and what lies beside the backbone tell whose it is."""
    if "blocks.0.ls1.gamma" in tensors:  # timm's own file of a DINOv2
        return dinov2(tensors, config, None)
    if "norm_pre.weight" in tensors:  # of a CLIP, whose activation and normalisation the tensors do not tell
        return Architecture(name=None)
    taken, width = config.get("taken", ()), tensors["cls_token"].shape[-1]
    found = vit_architecture(tensors, config, NAMES)
    if any(step in taken for step in OF_MOCO_V3):
        if width == MOCO_V3_SMALL:
            found = replace(found, arguments=found.arguments | {"num_heads": 12})
        return replace(found, normalisation=IMAGENET)
    has_classifier = "head.weight" in tensors
    if width % 64 or (width == MOCO_V3_SMALL and not bool(tensors["pos_embed"][:, 0].any())):
        return replace(found, unknown=("num_heads",), normalisation=None if has_classifier else IMAGENET)
    if has_classifier:
        return found
    of_dino = "model" not in taken
    arguments = found.arguments | ({"pos_resampling": OFFSET} if of_dino else {})
    return replace(found, arguments=arguments, normalisation=IMAGENET)


def _torchvision(tensors: Tensors, config: Config) -> Architecture:
    return vit_architecture(tensors, config, NAMES)


LAYOUTS = (
    Layout(
        title="DINOv2's own",
        marks=(r"pos_embed", r"patch_embed\.proj\.weight", r"blocks\.(\d+\.)?0\.ls1\.gamma", r"mask_token"),
        rules=DINOV2_RULES,
        left_out=(r"mask_token",),
        arrange=folded_class_place,
        describe=lambda tensors, config: dinov2(tensors, config, OFFSET),
        normalisation=IMAGENET,
    ),
    Layout(
        title="MAE's own",
        marks=(*PLAIN, r"mask_token", r"decoder_embed\.weight"),
        left_out=(r"mask_token", r"decoder_.*"),
        describe=lambda tensors, config: vit_architecture(tensors, config, NAMES),
        normalisation=IMAGENET,
    ),
    Layout(
        title="a ViT of timm's names",
        marks=PLAIN,
        left_out=(r"masked_embed",),
        describe=_plain,
    ),
    Layout(
        title="torchvision's ViT",
        marks=(r"class_token", r"conv_proj\.weight", r"encoder\.layers\.encoder_layer_0\.ln_1\.weight"),
        rules=TORCHVISION_RULES,
        left_out=(r"heads\..*",),
        describe=_torchvision,
        normalisation=IMAGENET,
    ),
)

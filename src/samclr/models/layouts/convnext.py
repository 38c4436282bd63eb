"""ConvNeXt: Hugging Face's, DINOv3's at both places, Meta's own files and torchvision's."""

import re
from dataclasses import replace
from typing import Any

from samclr.config.normalisation import IMAGENET
from samclr.models.layouts.base import Architecture, Config, Layout, Rules, Tensors

KNOWN: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {
    ((3, 3, 9, 3), (96, 192, 384, 768)): "convnext_tiny",
    ((3, 3, 27, 3), (96, 192, 384, 768)): "convnext_small",
    ((3, 3, 27, 3), (128, 256, 512, 1024)): "convnext_base",
    ((3, 3, 27, 3), (192, 384, 768, 1536)): "convnext_large",
    ((3, 3, 27, 3), (256, 512, 1024, 2048)): "convnext_xlarge",
}
OWN_EPS = 1e-6
BLOCK = r"stages.\1.blocks.\2"
HUGGING_FACE_RULES: Rules = (
    (r"embeddings\.patch_embeddings\.(.*)", r"stem.0.\1"),
    (r"embeddings\.layernorm\.(.*)", r"stem.1.\1"),
    (r"encoder\.stages\.(\d)\.downsampling_layer\.([01])\.(.*)", r"stages.\1.downsample.\2.\3"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.dwconv\.(.*)", rf"{BLOCK}.conv_dw.\3"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.layernorm\.(.*)", rf"{BLOCK}.norm.\3"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.pwconv([12])\.(.*)", rf"{BLOCK}.mlp.fc\3.\4"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer_scale_parameter", rf"{BLOCK}.gamma"),
    (r"layernorm\.(.*)", r"head.norm.\1"),
)
HUGGING_FACE_DINOV3_RULES: Rules = (
    (r"stages\.0\.downsample_layers\.([01])\.(.*)", r"stem.\1.\2"),
    (r"stages\.(\d)\.downsample_layers\.([01])\.(.*)", r"stages.\1.downsample.\2.\3"),
    (r"stages\.(\d)\.layers\.(\d+)\.depthwise_conv\.(.*)", rf"{BLOCK}.conv_dw.\3"),
    (r"stages\.(\d)\.layers\.(\d+)\.layer_norm\.(.*)", rf"{BLOCK}.norm.\3"),
    (r"stages\.(\d)\.layers\.(\d+)\.pointwise_conv([12])\.(.*)", rf"{BLOCK}.mlp.fc\3.\4"),
    (r"stages\.(\d)\.layers\.(\d+)\.gamma", rf"{BLOCK}.gamma"),
    (r"layer_norm\.(.*)", r"head.norm.\1"),
)
META_RULES: Rules = (
    (r"downsample_layers\.0\.([01])\.(.*)", r"stem.\1.\2"),
    (r"downsample_layers\.(\d)\.([01])\.(.*)", r"stages.\1.downsample.\2.\3"),
    (r"stages\.(\d)\.(\d+)\.dwconv\.(.*)", rf"{BLOCK}.conv_dw.\3"),
    (r"stages\.(\d)\.(\d+)\.norm\.(.*)", rf"{BLOCK}.norm.\3"),
    (r"stages\.(\d)\.(\d+)\.pwconv([12])\.(.*)", rf"{BLOCK}.mlp.fc\3.\4"),
    (r"stages\.(\d)\.(\d+)\.gamma", rf"{BLOCK}.gamma"),
    (r"norm\.(.*)", r"head.norm.\1"),
    (r"head\.(weight|bias)", r"head.fc.\1"),
)
TORCHVISION_RULES: Rules = (
    (r"features\.0\.([01])\.(.*)", r"stem.\1.\2"),
    *((rf"features\.{2 * stage}\.([01])\.(.*)", rf"stages.{stage}.downsample.\1.\2") for stage in (1, 2, 3)),
    *(
        (rf"features\.{2 * stage + 1}\.(\d+)\.{theirs}", rf"stages.{stage}.blocks.\1.{ours}")
        for stage in range(4)
        for theirs, ours in (
            (r"layer_scale", "gamma"),
            (r"block\.0\.(.*)", r"conv_dw.\2"),
            (r"block\.2\.(.*)", r"norm.\2"),
            (r"block\.3\.(.*)", r"mlp.fc1.\2"),
            (r"block\.5\.(.*)", r"mlp.fc2.\2"),
        )
    ),
    (r"classifier\.0\.(.*)", r"head.norm.\1"),
)


def _flat_scales(tensors: Tensors) -> Tensors:
    return {name: tensor.flatten() if name.endswith(".gamma") else tensor for name, tensor in tensors.items()}


def _architecture(tensors: Tensors, config: Config) -> Architecture:
    found = [re.match(r"stages\.(\d)\.blocks\.(\d+)\.", name) for name in tensors]
    places = [(int(one[1]), int(one[2])) for one in found if one is not None]
    depths = tuple(1 + max(block for stage, block in places if stage == number) for number in range(4))
    dims = tuple(tensors[f"stages.{stage}.blocks.0.norm.weight"].shape[0] for stage in range(4))
    name = KNOWN.get((depths, dims))
    arguments: dict[str, Any] = {} if name else {"depths": depths, "dims": dims}
    if (patch := tensors["stem.0.weight"].shape[-1]) != 4:
        arguments["patch_size"] = patch
    if "stages.0.blocks.0.gamma" not in tensors:
        arguments["ls_init_value"] = None
    return Architecture(name=name or "convnext_tiny", arguments=arguments)


def _with_last_eps(tensors: Tensors, config: Config) -> Architecture:
    """Hugging Face's ConvNeXt has its own eps in the last norm alone."""
    return _with_eps_of("final_norm_eps", _architecture(tensors, config), config.get("layer_norm_eps", 1e-12))


def _with_eps(tensors: Tensors, config: Config) -> Architecture:
    return _with_eps_of("norm_eps", _architecture(tensors, config), config.get("layer_norm_eps", OWN_EPS))


def _with_eps_of(norms: str, found: Architecture, eps: float) -> Architecture:
    return replace(found, arguments=found.arguments | ({norms: eps} if eps != OWN_EPS else {}))


LAYOUTS = (
    Layout(
        title="Hugging Face's ConvNeXt",
        marks=(r"embeddings\.patch_embeddings\.weight", r"encoder\.stages\.0\.layers\.0\.dwconv\.weight"),
        rules=HUGGING_FACE_RULES,
        describe=_with_last_eps,
        model_types=("convnext",),
        normalisation=IMAGENET,
    ),
    Layout(
        title="Hugging Face's DINOv3 ConvNeXt",
        marks=(r"stages\.0\.downsample_layers\.0\.weight", r"stages\.0\.layers\.0\.depthwise_conv\.weight"),
        rules=HUGGING_FACE_DINOV3_RULES,
        describe=_with_eps,
        model_types=("dinov3_convnext",),
        normalisation=IMAGENET,
    ),
    Layout(
        title="ConvNeXt's own",
        marks=(r"downsample_layers\.0\.0\.weight", r"stages\.0\.0\.dwconv\.weight"),
        rules=META_RULES,
        left_out=(r"norms\..*", r"projectors\..*"),
        describe=_architecture,
        normalisation=IMAGENET,
    ),
    Layout(
        title="torchvision's ConvNeXt",
        marks=(r"features\.0\.0\.weight", r"features\.1\.0\.layer_scale"),
        rules=TORCHVISION_RULES,
        left_out=(r"classifier\.2\..*",),
        arrange=_flat_scales,
        describe=_architecture,
        normalisation=IMAGENET,
    ),
)

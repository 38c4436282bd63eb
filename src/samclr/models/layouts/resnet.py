"""ResNets: torchvision's names, which timm and MoCo share; lightly's two; Hugging Face's."""

import re
from dataclasses import replace
from typing import Any

from samclr.config.normalisation import IMAGENET
from samclr.errors import ConfigError
from samclr.models.layouts.base import Architecture, Config, Layout, Rules, Tensors

KNOWN: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
CHANNELS = (64, 128, 256, 512)
HEADS = (r"fc\..*", r"linear\..*")
SEQUENTIAL_RULES: Rules = (  # nn.Sequential(*list(resnet.children())[:-1]), as lightly's examples build it
    (r"0\.(.*)", r"conv1.\1"),
    (r"1\.(.*)", r"bn1.\1"),
    *((rf"{number}\.(\d+)\.(.*)", rf"layer{number - 3}.\1.\2") for number in (4, 5, 6, 7)),
)
NORMALISED = {"convolution": ("conv", "downsample.0"), "normalization": ("bn", "downsample.1")}
HUGGING_FACE_RULES: Rules = tuple(
    rule
    for theirs, (ours, shortcut) in NORMALISED.items()
    for rule in (
        (rf"embedder\.embedder\.{theirs}\.(.*)", rf"{ours}1.\1"),
        *(
            (
                rf"encoder\.stages\.{stage}\.layers\.(\d+)\.layer\.{layer}\.{theirs}\.(.*)",
                rf"layer{stage + 1}.\1.{ours}{layer + 1}.\2",
            )
            for stage in range(4)
            for layer in range(3)
        ),
        *(
            (
                rf"encoder\.stages\.{stage}\.layers\.(\d+)\.shortcut\.{theirs}\.(.*)",
                rf"layer{stage + 1}.\1.{shortcut}.\2",
            )
            for stage in range(4)
        ),
    )
)


def _architecture(tensors: Tensors, config: Config) -> Architecture:
    """A ResNet, ResNeXt or wide ResNet; no name where it is another of timm's many."""
    places = [
        (int(one[1]), int(one[2])) for name in tensors if (one := re.match(r"layer([1-4])\.(\d+)\.conv1\.", name))
    ]
    layers = tuple(1 + max(block for stage, block in places if stage == number) for number in (1, 2, 3, 4))
    is_bottleneck = "layer1.0.conv3.weight" in tensors
    middle = tuple(tensors[f"layer{stage}.0.conv2.weight"].shape[0] for stage in (1, 2, 3, 4))
    out = tuple(tensors[f"layer{s}.0.conv{3 if is_bottleneck else 2}.weight"].shape[0] for s in (1, 2, 3, 4))
    channels = tuple(width // 4 if is_bottleneck else width for width in out)
    inner, per_group = middle[0], tensors["layer1.0.conv2.weight"].shape[1]
    groups = inner // per_group if is_bottleneck else 1
    stem = tensors["conv1.weight"]
    of_lightly = stem.shape[-1] == 3 and "linear.weight" in tensors
    if stem.shape[0] != 64 or not (stem.shape[-1] == 7 or of_lightly):
        return Architecture(name=None)
    name = KNOWN.get((is_bottleneck, layers)) if channels == CHANNELS else None
    arguments: dict[str, Any] = {}
    if name is None:
        name, arguments = "resnet50" if is_bottleneck else "resnet18", {"layers": layers, "channels": channels}
    if is_bottleneck and (inner, groups) != (channels[0], 1):
        arguments |= {"cardinality": groups, "base_width": inner * 64 // (groups * channels[0])}
        if (name, groups, arguments["base_width"], len(arguments)) == ("resnet50", 1, 128, 2):
            return Architecture(name="wide_resnet50_2")
        if (name, groups, arguments["base_width"], len(arguments)) == ("resnet50", 32, 4, 2):
            return Architecture(name="resnext50_32x4d")
    return Architecture(name=name, arguments=arguments)


def _of_hugging_face(tensors: Tensors, config: Config) -> Architecture:
    for setting, wanted in (
        ("downsample_in_bottleneck", False),
        ("downsample_in_first_stage", False),
        ("hidden_act", "relu"),
    ):
        if config.get(setting, wanted) != wanted:
            raise ConfigError(f"its config.json has {setting} {config[setting]}; timm's ResNets have {wanted}")
    if config.get("embedding_size", 64) != 64:
        raise ConfigError(f"its config.json has embedding_size {config['embedding_size']}; timm's ResNets have 64")
    return _architecture(tensors, config)


LAYOUTS = (
    Layout(
        title="Hugging Face's ResNet",
        marks=(r"embedder\.embedder\.convolution\.weight", r"encoder\.stages\.0\.layers\.0\.layer\.0\..*"),
        rules=HUGGING_FACE_RULES,
        describe=_of_hugging_face,
        model_types=("resnet",),
        normalisation=IMAGENET,
    ),
    Layout(
        title="lightly's ResNet",
        marks=(r"conv1\.weight", r"layer[1-4]\.0\.shortcut\.0\.weight"),
        rules=((r"(layer[1-4]\.\d+)\.shortcut\.([01]\..*)", r"\1.downsample.\2"),),
        left_out=HEADS,
        describe=lambda tensors, config: replace(_architecture(tensors, config), stem="conv3x3-stride1"),
        normalisation=IMAGENET,
    ),
    Layout(
        title="torchvision's ResNet",
        marks=(r"conv1\.weight", r"bn1\.weight", r"layer1\.0\.conv1\.weight", r"layer4\.0\.conv1\.weight"),
        describe=_architecture,
    ),
    Layout(
        title="a ResNet as a sequence",
        marks=(r"0\.weight", r"1\.running_mean", r"4\.0\.conv1\.weight", r"7\.0\.conv1\.weight"),
        rules=SEQUENTIAL_RULES,
        describe=_architecture,
        normalisation=IMAGENET,
    ),
)

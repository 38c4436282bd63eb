"""SimCLR and SAMCLR: settings and recipes."""

from dataclasses import dataclass, replace
from typing import ClassVar

from samclr.config.methods import MethodConfig, MethodSpec, ProjectorConfig, SameImage
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.serialise import Temperature
from samclr.config.views import ViewsConfig


@dataclass(frozen=True, kw_only=True)
class SimclrConfig(MethodConfig):
    """SimCLR's own settings.

    Attributes:
        temperature: Temperature of the contrastive loss.
        same_image_negatives: With several regions per image: keep the other regions of an image as negatives, or ignore
            them.
    """

    name: ClassVar[str] = "simclr"

    temperature: Temperature = 0.5
    same_image_negatives: SameImage = "keep"


# ResNet-18, 128 px, batch 256, SGD 0.06 with cosine, crop scale 0.08 to 1: the defaults of the configuration.
# 17,600 steps are the paper's 1600 epochs of Cityscapes' 2,975 training images; on ADE20K it ran 250 epochs.
SIMCLR = PretrainConfig(recipe="simclr", method=SimclrConfig(), views=ViewsConfig(strategy="image"))
SAMCLR = replace(SIMCLR, recipe="samclr", method=SimclrConfig(temperature=0.07), views=ViewsConfig(strategy="region"))

SPEC = MethodSpec(
    title="SimCLR",
    region_title="SAMCLR",
    config=SimclrConfig,
    build="samclr.methods.simclr:build",
    recipes=(
        Recipe(
            config=SIMCLR,
            summary="SimCLR: both views from the whole image",
            paper="Chen et al., ICML 2020 (arXiv 2002.05709), in the setting of the SAMCLR paper",
            overrides="none: this is the base",
            cost="17,600 steps of 512 views at 128 px",
            expected="Cityscapes to CIFAR-10: kNN 50.5, linear 42.5 (the SAMCLR paper's figures)",
            command="samclr pretrain simclr --scenes SCENES --out RUN",
        ),
        Recipe(
            config=SAMCLR,
            summary="SAMCLR: SimCLR with both views from one region",
            paper="Missaoui and Yuan, NeurIPS 2023 workshop (arXiv 2310.14736)",
            overrides="strategy region (was image), temperature 0.07 (was 0.5)",
            cost="as simclr, and samclr segment SCENES --segmenter sam-hq-vit-h --out STORE once before it",
            expected="Cityscapes to CIFAR-10: kNN 63.9, linear 63.4 (the paper's figures, with HQ-SAM regions)",
            command="samclr pretrain samclr --scenes SCENES --regions STORE --out RUN",
        ),
    ),
    demo_config=SimclrConfig(temperature=0.2, projector=ProjectorConfig()),
    demo_lr=2e-3,
)

"""Barlow Twins and SAM-Barlow Twins: settings and recipes."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from samclr.config.methods import MethodConfig, MethodSpec, ProjectorConfig
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.serialise import NotNegative
from samclr.config.views import AugmentConfig, ViewsConfig


# The projector of lightly's ImageNette benchmark; the paper's is 8192 wide.
@dataclass(frozen=True, kw_only=True)
class BarlowConfig(MethodConfig):
    """Barlow Twins' own settings.

    Attributes:
        redundancy_weight: Weight of the correlations between different dimensions; the paper's lambda.
    """

    name: ClassVar[str] = "barlow"

    projector: ProjectorConfig = field(
        default_factory=lambda: ProjectorConfig(projector_hidden=2048, projector_out=2048)
    )
    redundancy_weight: NotNegative = 0.005


BARLOW = PretrainConfig(
    recipe="barlow",
    method=BarlowConfig(),
    views=ViewsConfig(strategy="image"),
    augment=AugmentConfig(asymmetric=True, jitter_saturation=0.4),
)
SAMBARLOW = replace(BARLOW, recipe="sambarlow", views=ViewsConfig(strategy="region"))

SPEC = MethodSpec(
    title="Barlow Twins",
    region_title="SAM-Barlow Twins",
    config=BarlowConfig,
    build="samclr.methods.barlow:build",
    recipes=(
        Recipe(
            config=BARLOW,
            summary="Barlow Twins: the cross-correlation of two views' embeddings is driven to the identity",
            paper="Zbontar et al., ICML 2021 (arXiv 2103.03230), in the setting of lightly's ImageNette benchmark",
            overrides="projector 512-2048-2048-2048, redundancy weight 0.005, BYOL's blur, solarisation and halved "
            "jitter of saturation",
            cost="17,600 steps of 512 views at 128 px",
            expected="ImageNette to ImageNette: kNN 65.1 after 200 epochs, 85.2 after 800 (lightly's benchmark)",
            command="samclr pretrain barlow --scenes SCENES --out RUN",
        ),
        Recipe(
            config=SAMBARLOW,
            summary="Barlow Twins with both views from one region",
            paper="the idea of Missaoui and Yuan (arXiv 2310.14736), applied to Barlow Twins here",
            overrides="those of barlow, with strategy region",
            cost="as barlow, and samclr segment SCENES --segmenter sam-hq-vit-h --out STORE once before it",
            expected="no published figure",
            command="samclr pretrain sambarlow --scenes SCENES --regions STORE --out RUN",
        ),
    ),
    demo_config=BarlowConfig(projector=ProjectorConfig(projector_out=512), redundancy_weight=0.02),
    demo_lr=1e-3,
)

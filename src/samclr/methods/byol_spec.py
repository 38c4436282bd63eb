"""BYOL and SAM-BYOL: settings and recipes."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from samclr.config.methods import MethodSpec, MomentumMethodConfig, ProjectorConfig, Which, Width
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.views import AugmentConfig, ViewsConfig


# Heads, momentum and augmentation of lightly's ImageNette benchmark.
@dataclass(frozen=True, kw_only=True)
class ByolConfig(MomentumMethodConfig):
    """BYOL's own settings.

    Attributes:
        predictor_hidden: Width of the predictor's hidden layer; projector_norm decides about its norm, too.
    """

    name: ClassVar[str] = "byol"
    usually_exported: ClassVar[Which] = "student"  # as in the paper, which keeps the online encoder alone

    projector: ProjectorConfig = field(
        default_factory=lambda: ProjectorConfig(projector_hidden=4096, projector_out=256)
    )
    predictor_hidden: Width = 4096


BYOL = PretrainConfig(
    recipe="byol",
    method=ByolConfig(),
    views=ViewsConfig(strategy="image"),
    augment=AugmentConfig(asymmetric=True, jitter_saturation=0.4),
)
SAMBYOL = replace(BYOL, recipe="sambyol", views=ViewsConfig(strategy="region"))

SPEC = MethodSpec(
    title="BYOL",
    region_title="SAM-BYOL",
    config=ByolConfig,
    build="samclr.methods.byol:build",
    recipes=(
        Recipe(
            config=BYOL,
            summary="BYOL: predict what a momentum encoder makes of the other view, without negatives",
            paper="Grill et al., NeurIPS 2020 (arXiv 2006.07733), in the setting of lightly's ImageNette benchmark",
            overrides="projector 512-4096-256 and predictor 256-4096-256, momentum 0.99, BYOL's blur, solarisation and "
            "halved jitter of saturation",
            cost="17,600 steps of 512 views at 128 px, a third more than simclr for the targets",
            expected="ImageNette to ImageNette: kNN 70.5 after 200 epochs, 88.7 after 800 (lightly's benchmark)",
            command="samclr pretrain byol --scenes SCENES --out RUN",
        ),
        Recipe(
            config=SAMBYOL,
            summary="BYOL with both views from one region",
            paper="the idea of Missaoui and Yuan (arXiv 2310.14736), applied to BYOL here",
            overrides="those of byol, with strategy region",
            cost="as byol, and samclr segment SCENES --segmenter sam-hq-vit-h --out STORE once before it",
            expected="no published figure",
            command="samclr pretrain sambyol --scenes SCENES --regions STORE --out RUN",
        ),
    ),
    demo_config=ByolConfig(projector=ProjectorConfig(), predictor_hidden=512),
    demo_lr=1e-3,
)

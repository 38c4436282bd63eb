"""VICReg and SAM-VICReg: settings and recipes."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from samclr.config.methods import MethodConfig, MethodSpec, ProjectorConfig
from samclr.config.pretrain import OptimConfig, PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.serialise import NotNegative
from samclr.config.views import AugmentConfig, ViewsConfig


# The paper's weights, and the projector of lightly's ImageNette benchmark; the paper's is 8192 wide.
@dataclass(frozen=True, kw_only=True)
class VicregConfig(MethodConfig):
    """VICReg's own settings.

    Attributes:
        invariance_weight: Weight of the squared difference of the views; the paper's lambda.
        variance_weight: Weight of what a dimension's deviation falls short of 1; the paper's mu.
        covariance_weight: Weight of the squared covariances; the paper's nu.
    """

    name: ClassVar[str] = "vicreg"

    projector: ProjectorConfig = field(
        default_factory=lambda: ProjectorConfig(projector_hidden=2048, projector_out=2048)
    )
    invariance_weight: NotNegative = 25.0
    variance_weight: NotNegative = 25.0
    covariance_weight: NotNegative = 1.0


# 880 steps are a twentieth of the run, as the benchmark's 40 epochs of 800.
VICREG = PretrainConfig(
    recipe="vicreg",
    method=VicregConfig(),
    views=ViewsConfig(strategy="image"),
    augment=AugmentConfig(jitter_saturation=0.4, solarise_prob=0.1),
    optim=OptimConfig(optimizer="lars", lr=0.3, weight_decay=1e-4, warmup_steps=880),
)
SAMVICREG = replace(VICREG, recipe="samvicreg", views=ViewsConfig(strategy="region"))

SPEC = MethodSpec(
    title="VICReg",
    region_title="SAM-VICReg",
    config=VicregConfig,
    build="samclr.methods.vicreg:build",
    recipes=(
        Recipe(
            config=VICREG,
            summary="VICReg: views agree, every dimension varies, and dimensions do not covary",
            paper="Bardes et al., ICLR 2022 (arXiv 2105.04906), in the setting of lightly's ImageNette benchmark",
            overrides="projector 512-2048-2048-2048, LARS 0.3 with weight decay 1e-4 and 880 steps of warm-up, "
            "solarisation and halved jitter of saturation",
            cost="17,600 steps of 512 views at 128 px",
            expected="ImageNette to ImageNette: kNN 76.3 after 200 epochs, 84.5 after 800 (lightly's benchmark)",
            command="samclr pretrain vicreg --scenes SCENES --out RUN",
        ),
        Recipe(
            config=SAMVICREG,
            summary="VICReg with both views from one region",
            paper="the idea of Missaoui and Yuan (arXiv 2310.14736), applied to VICReg here",
            overrides="those of vicreg, with strategy region",
            cost="as vicreg, and samclr segment SCENES --segmenter sam-hq-vit-h --out STORE once before it",
            expected="no published figure",
            command="samclr pretrain samvicreg --scenes SCENES --regions STORE --out RUN",
        ),
    ),
    demo_config=VicregConfig(projector=ProjectorConfig(projector_out=512)),
    demo_lr=1e-3,
)

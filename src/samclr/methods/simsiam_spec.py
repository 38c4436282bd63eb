"""SimSiam and SAM-SimSiam: settings and recipes."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from samclr.config.methods import MethodConfig, MethodSpec, ProjectorConfig, Width
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.views import ViewGroup, ViewsConfig


# The paper's heads, which lightly's ImageNette benchmark has, too.
@dataclass(frozen=True, kw_only=True)
class SimsiamConfig(MethodConfig):
    """SimSiam's own settings.

    Attributes:
        predictor_hidden: Width of the predictor's hidden layer; projector_norm decides about its norm, too.
    """

    name: ClassVar[str] = "simsiam"

    projector: ProjectorConfig = field(
        default_factory=lambda: ProjectorConfig(projector_hidden=2048, projector_out=2048)
    )
    predictor_hidden: Width = 512


SIMSIAM = PretrainConfig(
    recipe="simsiam",
    method=SimsiamConfig(),
    views=ViewsConfig(strategy="image"),
    group=ViewGroup(crop_scale=(0.2, 1.0)),
)
SAMSIMSIAM = replace(SIMSIAM, recipe="samsimsiam", views=ViewsConfig(strategy="region"))

SPEC = MethodSpec(
    title="SimSiam",
    region_title="SAM-SimSiam",
    config=SimsiamConfig,
    build="samclr.methods.simsiam:build",
    recipes=(
        Recipe(
            config=SIMSIAM,
            summary="SimSiam: predict the other view's embedding, with neither negatives nor a momentum encoder",
            paper="Chen and He, CVPR 2021 (arXiv 2011.10566), in the setting of lightly's ImageNette benchmark",
            overrides="projector 512-2048-2048-2048 and predictor 2048-512-2048, crop scale (0.2, 1)",
            cost="17,600 steps of 512 views at 128 px",
            expected="ImageNette to ImageNette: kNN 75.2 after 200 epochs, 87.2 after 800 (lightly's benchmark)",
            command="samclr pretrain simsiam --scenes SCENES --out RUN",
        ),
        Recipe(
            config=SAMSIMSIAM,
            summary="SimSiam with both views from one region",
            paper="the idea of Missaoui and Yuan (arXiv 2310.14736), applied to SimSiam here",
            overrides="those of simsiam, with strategy region",
            cost="as simsiam, and samclr segment SCENES --segmenter sam-hq-vit-h --out STORE once before it",
            expected="no published figure",
            command="samclr pretrain samsimsiam --scenes SCENES --regions STORE --out RUN",
        ),
    ),
    demo_config=SimsiamConfig(projector=ProjectorConfig(projector_out=512), predictor_hidden=128),
    demo_lr=1e-3,
)

"""SwAV and SAM-SwAV: settings and recipes."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from samclr.config.methods import MethodConfig, MethodSpec, ProjectorConfig
from samclr.config.pretrain import OptimConfig, PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.serialise import Bounds, StepsOrZero, Temperature
from samclr.config.views import LocalViews, ViewGroup, ViewsConfig


# The paper's temperatures and prototypes, which lightly's ImageNette benchmark has, too.
@dataclass(frozen=True, kw_only=True)
class SwavConfig(MethodConfig):
    """SwAV's own settings.

    Attributes:
        temperature: Temperature of the predicted shares.
        num_prototypes: Outputs of the head.
        code_temperature: Temperature of the codes that Sinkhorn's rounds balance; the paper's epsilon.
        freeze_steps: Steps at the start in which the prototypes stay as they are.
    """

    name: ClassVar[str] = "swav"
    has_local_views: ClassVar[bool] = True
    kept: ClassVar[str] = "num_prototypes"

    projector: ProjectorConfig = field(default_factory=lambda: ProjectorConfig(projector_hidden=2048))
    temperature: Temperature = 0.1
    num_prototypes: Annotated[int, Bounds(at_least=2, at_most=2**18)] = 3000
    code_temperature: Temperature = 0.05
    freeze_steps: StepsOrZero = 0


SWAV = PretrainConfig(
    recipe="swav",
    method=SwavConfig(),
    views=ViewsConfig(strategy="image"),
    group=ViewGroup(crop_scale=(0.14, 1.0)),
    local=LocalViews(num_local_views=6, local_crop_scale=(0.05, 0.14)),
    optim=OptimConfig(optimizer="adamw", lr=1e-3, weight_decay=1e-6),
)
SAMSWAV = replace(SWAV, recipe="samswav", views=ViewsConfig(strategy="region"))

SPEC = MethodSpec(
    title="SwAV",
    region_title="SAM-SwAV",
    config=SwavConfig,
    build="samclr.methods.swav:build",
    recipes=(
        Recipe(
            config=SWAV,
            summary="SwAV: each view predicts the prototypes of two global views, balanced over the batch",
            paper="Caron et al., NeurIPS 2020 (arXiv 2006.09882), in the setting of lightly's ImageNette benchmark",
            overrides="2 x 128 px at (0.14, 1) and 6 x 64 px at (0.05, 0.14), projector 512-2048-128, 3000 prototypes, "
            "temperatures 0.1 and 0.05, AdamW 0.001 with weight decay 1e-6",
            cost="17,600 steps of 512 views at 128 px and 1,536 at 64 px",
            expected="ImageNette to ImageNette, 800 epochs: kNN 89.5, linear 91.9 (the SAMCLR paper's figures); kNN "
            "86.1 after 200 epochs, 90.2 after 800 (lightly's benchmark)",
            command="samclr pretrain swav --scenes SCENES --out RUN",
        ),
        Recipe(
            config=SAMSWAV,
            summary="SwAV with all views, local ones too, from one region",
            paper="the idea of Missaoui and Yuan (arXiv 2310.14736), applied to SwAV here",
            overrides="those of swav, with strategy region",
            cost="as swav, and samclr segment SCENES --segmenter sam-hq-vit-h --out STORE once before it",
            expected="no published figure",
            command="samclr pretrain samswav --scenes SCENES --regions STORE --out RUN",
        ),
    ),
    demo_config=SwavConfig(projector=ProjectorConfig(), num_prototypes=128),
    demo_lr=1e-3,
)

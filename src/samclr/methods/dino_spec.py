"""DINO and SAMDINO: settings and recipes."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from samclr.config.methods import MethodSpec, MomentumMethodConfig, ProjectorConfig, Which
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.serialise import (
    Bounds,
    CountsWith,
    NotNegative,
    PositiveShare,
    Share,
    ShareRange,
    StepsOrZero,
    Temperature,
)
from samclr.config.views import AugmentConfig, LocalViews, ViewGroup, ViewsConfig

TermHead = Literal["own", "shared"]


@dataclass(frozen=True, kw_only=True)
class DinoConfig(MomentumMethodConfig):
    """DINO's own settings.

    Attributes:
        temperature: Temperature of the student.
        num_prototypes: Outputs of the head.
        teacher_temperature: Temperature of the teacher, after its warm-up.
        teacher_temperature_start: Temperature of the teacher at the first step.
        teacher_temperature_steps: Steps of linear warm-up from one to the other.
        centering: How collapse is avoided: center = subtract a running mean; sinkhorn = balance prototypes
            over the batch.
        center_momentum: Share of the center that each step keeps.
        freeze_steps: Steps at the start in which the prototypes stay as they are.
        region_weight: Weight of the regions' term: the teacher's opinion of a region, pooled from a global view's
            patches, is taught to the student's pooling of it in another one. Needs carried_regions.
        region_head: Head of the pooled regions: one of their own, without batch norm, or the views' (shared).
        masked_patch_weight: Weight of iBOT's term: patches are hidden from the student, which learns the teacher's
            opinion of them. ViTs only.
        masked_patch_head: Head of the masked patches, as region_head.
        masked_view_frac: Share of a step's global views that have masked patches.
        masked_patch_frac: Least and most of such a view's patches that are masked, in blocks.
    """

    name: ClassVar[str] = "dino"
    usually_exported: ClassVar[Which] = "student"  # as lightly's benchmark measures; the paper takes the teacher
    has_local_views: ClassVar[bool] = True
    kept: ClassVar[str] = "num_prototypes"

    projector: ProjectorConfig = field(
        default_factory=lambda: ProjectorConfig(projector_hidden=2048, projector_out=256)
    )
    temperature: Temperature = 0.1
    num_prototypes: Annotated[int, Bounds(at_least=2, at_most=2**18)] = 2048
    teacher_temperature: Temperature = 0.04
    teacher_temperature_start: Annotated[Temperature, CountsWith("teacher_temperature_steps")] = 0.04
    teacher_temperature_steps: StepsOrZero = 0
    centering: Literal["center", "sinkhorn"] = "center"
    center_momentum: Annotated[Share, CountsWith("centering", ("center",))] = 0.9
    freeze_steps: StepsOrZero = 0
    region_weight: NotNegative = 0.0
    region_head: Annotated[TermHead, CountsWith("region_weight")] = "own"
    masked_patch_weight: NotNegative = 0.0
    masked_patch_head: Annotated[TermHead, CountsWith("masked_patch_weight")] = "own"
    masked_view_frac: Annotated[PositiveShare, CountsWith("masked_patch_weight")] = 0.5
    masked_patch_frac: Annotated[ShareRange, CountsWith("masked_patch_weight")] = (0.1, 0.5)

    @property
    def wants_regions(self) -> bool:
        """For the regions' term."""
        return self.region_weight > 0


DINO = PretrainConfig(
    recipe="dino",
    method=DinoConfig(),
    views=ViewsConfig(strategy="image"),
    group=ViewGroup(crop_scale=(0.4, 1.0)),
    local=LocalViews(num_local_views=6),
    augment=AugmentConfig(asymmetric=True, jitter_saturation=0.4),
)
SAMDINO = replace(DINO, recipe="samdino", views=ViewsConfig(strategy="region"))

SPEC = MethodSpec(
    title="DINO",
    region_title="SAM-DINO",
    config=DinoConfig,
    build="samclr.methods.dino:build",
    recipes=(
        Recipe(
            config=DINO,
            summary="DINO: self-distillation over two global and six local views",
            paper="Caron et al., ICCV 2021 (arXiv 2104.14294)",
            overrides="2 x 128 px at (0.4, 1) and 6 x 64 px at (0.05, 0.4), head 2048-2048-256 with 2048 prototypes, "
            "momentum 0.99, BYOL's blur, solarisation and halved jitter of saturation",
            cost="17,600 steps of 512 views at 128 px and 1,536 at 64 px",
            expected="Cityscapes to CIFAR-10: kNN 38.8, linear 37.1 (the SAMCLR paper's figures)",
            command="samclr pretrain dino --scenes SCENES --out RUN",
        ),
        Recipe(
            config=SAMDINO,
            summary="DINO with all views, local ones too, from one region",
            paper="the idea of Missaoui and Yuan (arXiv 2310.14736), applied to DINO here",
            overrides="those of dino, with strategy region",
            cost="as dino, and samclr segment SCENES --segmenter sam-hq-vit-h --out STORE once before it",
            expected="no published figure; docs/methods/dino.md has ours",
            command="samclr pretrain samdino --scenes SCENES --regions STORE --out RUN",
        ),
    ),
    demo_config=DinoConfig(num_prototypes=512, projector=ProjectorConfig(projector_out=256)),
    demo_lr=5e-4,  # the teacher lags behind what learns too fast
)

"""MoCo and SAMMoCo: settings and recipes."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from samclr.config.methods import MethodSpec, MomentumMethodConfig, ProjectorConfig, SameImage, Which
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.serialise import Bounds, Temperature
from samclr.config.views import ViewsConfig


# The head, queue and momentum of lightly's ImageNette benchmark, the paper's source for its baselines.
@dataclass(frozen=True, kw_only=True)
class MocoConfig(MomentumMethodConfig):
    """MoCo's own settings.

    Attributes:
        temperature: Temperature of the contrastive loss.
        queue_size: Keys kept as negatives.
        symmetric: Whether both views are queries in turn, or the first alone, as in MoCo v1 and v2.
        key_splits: Shuffled parts in which keys are encoded, so that batch norm cannot leak which key is whose
            on one device; 1 encodes them together.
        same_image_negatives: Keep keys of the query's own image as negatives, or ignore them.
    """

    name: ClassVar[str] = "moco"
    usually_exported: ClassVar[Which] = "student"  # as in the paper, whose encoder is that of the queries
    kept: ClassVar[str] = "queue_size"

    projector: ProjectorConfig = field(
        default_factory=lambda: ProjectorConfig(projector_hidden=2048, projector_norm=False)
    )
    temperature: Temperature = 0.1
    queue_size: Annotated[int, Bounds(at_least=1, at_most=2**20)] = 4096
    symmetric: bool = True
    key_splits: Annotated[int, Bounds(at_least=1, at_most=65_536)] = 1
    same_image_negatives: SameImage = "keep"


MOCO = PretrainConfig(recipe="moco", method=MocoConfig(), views=ViewsConfig(strategy="image"))
SAMMOCO = replace(MOCO, recipe="sammoco", views=ViewsConfig(strategy="region"))

SPEC = MethodSpec(
    title="MoCo",
    region_title="SAM-MoCo",
    config=MocoConfig,
    build="samclr.methods.moco:build",
    recipes=(
        Recipe(
            config=MOCO,
            summary="MoCo: a queue of keys from a momentum encoder",
            paper="He et al., CVPR 2020 (arXiv 1911.05722), with the projector of v2 (arXiv 2003.04297)",
            overrides="temperature 0.1, projector 512-2048-128 without batch norm, queue 4096, momentum 0.99,"
            " symmetric",
            cost="17,600 steps of 512 views at 128 px, a third more than simclr for the keys",
            expected="Cityscapes to CIFAR-10: kNN 44.0, linear 43.2 (the SAMCLR paper's figures)",
            command="samclr pretrain moco --scenes SCENES --out RUN",
        ),
        Recipe(
            config=SAMMOCO,
            summary="MoCo with both views from one region",
            paper="proposed by Missaoui and Yuan (arXiv 2310.14736), implemented here",
            overrides="those of moco, with strategy region",
            cost="as moco, and samclr segment SCENES --segmenter sam-hq-vit-h --out STORE once before it",
            expected="no published figure; docs/methods/moco.md has ours",
            command="samclr pretrain sammoco --scenes SCENES --regions STORE --out RUN",
        ),
    ),
    demo_config=MocoConfig(temperature=0.2, queue_size=1024, projector=ProjectorConfig(projector_norm=False)),
    demo_lr=1e-3,  # the momentum copy lags behind what learns too fast
)

"""DetCon and SAM-DetCon: settings and recipes; among them `adapt`, which continues trained weights."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from samclr.config.anchors import AnchorConfig
from samclr.config.methods import MethodConfig, MethodSpec, ProjectorConfig, SameImage, Width
from samclr.config.pretrain import ModelConfig, OptimConfig, PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.serialise import CountsWith, Share, Temperature
from samclr.config.views import AugmentConfig, ViewGroup, ViewsConfig

WITH_MOMENTUM = CountsWith("form", ("momentum",))


# Heads, temperature and momentum of the authors' code, which is DetCon-B.
@dataclass(frozen=True, kw_only=True)
class DetconConfig(MethodConfig):
    """DetCon's own settings.

    Attributes:
        form: shared = both views through one encoder (DetCon-S); momentum = predictions of one view's regions find the
            other view's in a momentum encoder (DetCon-B).
        temperature: Temperature of the contrastive loss.
        same_image_negatives: Keep the other regions of an image as negatives, or ignore them.
        predictor_hidden: Width of the predictor's hidden layer; projector_norm decides about its norm, too.
        ema_momentum: Share of its weights that the momentum encoder keeps at each step.
        ema_momentum_end: Value at the end of a cosine schedule; None keeps ema_momentum constant.
    """

    name: ClassVar[str] = "detcon"

    form: Literal["shared", "momentum"] = "shared"
    projector: ProjectorConfig = field(
        default_factory=lambda: ProjectorConfig(projector_hidden=4096, projector_out=256)
    )
    temperature: Temperature = 0.1
    same_image_negatives: SameImage = "keep"
    predictor_hidden: Annotated[Width, WITH_MOMENTUM] = 4096
    ema_momentum: Annotated[Share, WITH_MOMENTUM] = 0.996
    ema_momentum_end: Annotated[Share | None, WITH_MOMENTUM] = 1.0

    @property
    def wants_regions(self) -> bool:
        """Always."""
        return True


# 16 masks an image and 224 px are the paper's; a ResNet's map is 7x7 there.
DETCON = PretrainConfig(
    recipe="detcon",
    method=DetconConfig(),
    views=ViewsConfig(strategy="image", carried_regions=16, window_margin=0.5),
    group=ViewGroup(size_px=224),
    augment=AugmentConfig(asymmetric=True, jitter_saturation=0.4),
)
SAMDETCON = replace(DETCON, recipe="samdetcon", views=replace(DETCON.views, strategy="region"))
ADAPT = replace(
    DETCON,
    recipe="adapt",
    anchor=AnchorConfig(anchor="feature", anchor_feature_weight=2.0),
    model=ModelConfig(frozen_norm="statistics"),
    group=ViewGroup(size_px=224, crop_scale=(0.3, 1.0)),
    optim=OptimConfig(
        global_batch_size=64, steps=600, optimizer="adamw", lr=1e-3, weight_decay=0.04, layer_decay=0.75,
        head_warmup_steps=60, warmup_steps=60, decay_norm_and_bias=False,
    ),
)  # fmt: skip

SPEC = MethodSpec(
    title="DetCon",
    region_title="SAM-DetCon",
    config=DetconConfig,
    build="samclr.methods.detcon:build",
    recipes=(
        Recipe(
            config=DETCON,
            summary="DetCon: features pooled under each region of two views of the whole image",
            paper="Hénaff et al., ICCV 2021 (arXiv 2103.10957), in the setting of the SAMCLR paper",
            overrides="16 carried regions, 224 px, projector 512-4096-256, temperature 0.1, BYOL's blur, solarisation "
            "and halved jitter of saturation; --form momentum is DetCon-B",
            cost="17,600 steps of 512 views at 224 px, and samclr segment SCENES --out STORE once before it",
            expected="no published figure in this setting; docs/methods/detcon.md has ours",
            command="samclr pretrain detcon --scenes SCENES --regions STORE --out RUN",
        ),
        Recipe(
            config=SAMDETCON,
            summary="DetCon with both views from one region and its surroundings",
            paper="the idea of Missaoui and Yuan (arXiv 2310.14736), applied to DetCon here",
            overrides="those of detcon, with strategy region and half of its size around a region on each side",
            cost="as detcon",
            expected="no published figure",
            command="samclr pretrain samdetcon --scenes SCENES --regions STORE --out RUN",
        ),
        Recipe(
            config=ADAPT,
            summary="Continue trained weights on scenes: DetCon, gently, held by an anchor to the start",
            paper="DetCon (Hénaff et al., ICCV 2021); the anchor and the gentleness are ours, chosen by measurement",
            overrides="AdamW 1e-3 with layer decay 0.75, batch norm frozen, 60 steps of the head alone, feature "
            "anchor of weight 2, crops of 30 to 100 %",
            cost="600 steps of 128 views at 224 px",
            expected="docs/results.md, Continuing trained weights: an EfficientNet-Lite0 on 567 photographs",
            command="samclr pretrain adapt --pretrained WEIGHTS --scenes SCENES --regions STORE --out RUN",
            continues=True,
        ),
    ),
    demo_config=DetconConfig(temperature=0.2, projector=ProjectorConfig()),
    demo_lr=2e-3,
)

"""Named experiments: what a paper did, what it costs, what to expect, and the command that runs it."""

from dataclasses import dataclass, replace

from samclr.config.methods import DinoConfig, MocoConfig
from samclr.config.pretrain import AugmentConfig, LocalViews, ModelConfig, PretrainConfig, ViewGroup, ViewsConfig

# ResNet-18, 128 px, batch 256, SGD 0.06 with cosine, crop scale 0.08 to 1: the defaults of the configuration.
# 17,600 steps are the paper's 1600 epochs of Cityscapes' 2,975 training images; on ADE20K it ran 250 epochs.
SIMCLR = PretrainConfig(recipe="simclr", temperature=0.5, views=ViewsConfig(strategy="image"))
SAMCLR = replace(SIMCLR, recipe="samclr", temperature=0.07, views=ViewsConfig(strategy="region"))
# The heads, queue and momenta of lightly's ImageNette benchmark, the paper's source for its baselines.
MOCO = replace(
    SIMCLR,
    recipe="moco",
    temperature=0.1,
    method=MocoConfig(),
    model=ModelConfig(projector_hidden=2048, projector_norm=False),
)
SAMMOCO = replace(MOCO, recipe="sammoco", views=ViewsConfig(strategy="region"))
DINO = replace(
    SIMCLR,
    recipe="dino",
    temperature=0.1,
    method=DinoConfig(),
    model=ModelConfig(projector_hidden=2048, projector_out=256),
    group=ViewGroup(crop_scale=(0.4, 1.0)),
    local=LocalViews(num_local_views=6),
    augment=AugmentConfig(asymmetric=True, jitter_saturation=0.4),
)
SAMDINO = replace(DINO, recipe="samdino", views=ViewsConfig(strategy="region"))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A configuration with its source."""

    config: PretrainConfig
    summary: str
    paper: str
    overrides: str
    cost: str
    expected: str
    command: str


RECIPES = {
    "simclr": Recipe(
        config=SIMCLR,
        summary="SimCLR: both views from the whole image",
        paper="Chen et al., ICML 2020 (arXiv 2002.05709), in the setting of the SAMCLR paper",
        overrides="none: this is the base",
        cost="17,600 steps of 512 views at 128 px",
        expected="Cityscapes to CIFAR-10: kNN 50.5, linear 42.5 (the SAMCLR paper's figures)",
        command="samclr pretrain simclr --scenes SCENES --out RUN",
    ),
    "samclr": Recipe(
        config=SAMCLR,
        summary="SAMCLR: SimCLR with both views from one region",
        paper="Missaoui and Yuan, NeurIPS 2023 workshop (arXiv 2310.14736)",
        overrides="strategy region (was image), temperature 0.07 (was 0.5)",
        cost="as simclr; once before it: samclr segment SCENES --segmenter sam-hq-vit-h --out STORE",
        expected="Cityscapes to CIFAR-10: kNN 63.9, linear 63.4 (the paper's figures, with HQ-SAM regions)",
        command="samclr pretrain samclr --scenes SCENES --regions STORE --out RUN",
    ),
    "moco": Recipe(
        config=MOCO,
        summary="MoCo: a queue of keys from a momentum encoder",
        paper="He et al., CVPR 2020 (arXiv 1911.05722), with the projector of v2 (arXiv 2003.04297)",
        overrides="temperature 0.1, projector 512-2048-128 without batch norm, queue 4096, momentum 0.99, symmetric",
        cost="17,600 steps of 512 views at 128 px, a third more than simclr for the keys",
        expected="Cityscapes to CIFAR-10: kNN 44.0, linear 43.2 (the SAMCLR paper's figures)",
        command="samclr pretrain moco --scenes SCENES --out RUN",
    ),
    "sammoco": Recipe(
        config=SAMMOCO,
        summary="MoCo with both views from one region",
        paper="proposed by Missaoui and Yuan (arXiv 2310.14736), done here",
        overrides="of moco: strategy region (was image), nothing else",
        cost="as moco; once before it: samclr segment SCENES --segmenter sam-hq-vit-h --out STORE",
        expected="no published figure; docs/methods/moco.md has ours",
        command="samclr pretrain sammoco --scenes SCENES --regions STORE --out RUN",
    ),
    "dino": Recipe(
        config=DINO,
        summary="DINO: self-distillation over two global and six local views",
        paper="Caron et al., ICCV 2021 (arXiv 2104.14294)",
        overrides="2 x 128 px at (0.4, 1) and 6 x 64 px at (0.05, 0.4), head 2048-2048-256 with 2048 prototypes, "
        "momentum 0.99, BYOL's blur, solarisation and halved jitter of saturation",
        cost="17,600 steps of 512 views at 128 px and 1,536 at 64 px",
        expected="Cityscapes to CIFAR-10: kNN 38.8, linear 37.1 (the SAMCLR paper's figures)",
        command="samclr pretrain dino --scenes SCENES --out RUN",
    ),
    "samdino": Recipe(
        config=SAMDINO,
        summary="DINO with all views, local ones too, from one region",
        paper="the idea of Missaoui and Yuan (arXiv 2310.14736) on DINO, done here",
        overrides="of dino: strategy region (was image), nothing else",
        cost="as dino; once before it: samclr segment SCENES --segmenter sam-hq-vit-h --out STORE",
        expected="no published figure; docs/methods/dino.md has ours",
        command="samclr pretrain samdino --scenes SCENES --regions STORE --out RUN",
    ),
}

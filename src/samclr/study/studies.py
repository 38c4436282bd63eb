"""The ready studies. Numbers quoted are those of the SAMCLR paper's tables. Nothing here imports torch."""

from dataclasses import replace
from typing import Any

from samclr.config.evaluation import EvaluationConfig
from samclr.config.pretrain import AugmentConfig, FilterConfig, OptimConfig, PretrainConfig
from samclr.config.protocols import EvaluationData, KnnConfig
from samclr.config.recipes import RECIPES
from samclr.config.sam import ComputeConfig, MaskConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.evaluation.protocols.crop_probe_spec import CropProbeConfig
from samclr.study.protocol_studies import DENSE_SMOKE, SCENES
from samclr.study.recipe import ANY, Evaluation, Grid, Reference, Study, Variant

PAPER_SOURCE = "Missaoui and Yuan, NeurIPS 2023 workshop (arXiv 2310.14736), tables 1 to 3: one run each"
PAPER_SEGMENTER = "sam-hq-vit-h"
SETS = ("cifar10", "stl10", "imagenette")
# (kNN, linear) in per cent on CIFAR-10, STL10, ImageNette.
PAPER_TABLES: dict[str, dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "cityscapes": {
        "moco.image": ((44.0, 41.2, 45.4), (43.2, 40.1, 46.8)),
        "dino.image": ((38.8, 36.7, 40.8), (37.1, 34.7, 40.4)),
        "simclr.image": ((50.5, 46.9, 50.5), (42.5, 40.8, 42.7)),
        "simclr.region": ((63.9, 57.2, 66.3), (63.4, 56.0, 67.5)),
    },
    "ade20k": {
        "moco.image": ((63.1, 61.9, 71.8), (60.7, 60.7, 73.5)),
        "dino.image": ((52.4, 55.8, 65.4), (48.9, 51.7, 62.8)),
        "simclr.image": ((60.6, 59.1, 68.8), (57.0, 54.5, 66.5)),
        "simclr.region": ((65.5, 59.3, 69.1), (65.6, 59.8, 70.8)),
    },
}
IMAGENETTE_TABLE = {
    "swav.image": (89.5, 91.9),
    "dino.image": (85.9, 88.6),
    "simclr.image": (89.0, 88.5),
    "simclr.region": (85.1, 85.8),
}


def _references() -> tuple[Reference, ...]:
    found = []
    for scenes, rows in PAPER_TABLES.items():
        for arm, (knn, linear) in rows.items():
            for name, knn_value, linear_value in zip(SETS, knn, linear, strict=True):
                found += _pair(f"{scenes}.{arm}.*", name, knn_value, linear_value)
    for arm, (knn_value, linear_value) in IMAGENETTE_TABLE.items():
        title = "SwAV (quoted, not run)" if arm.startswith("swav") else ""
        found += _pair(f"imagenette.{arm}.*", "imagenette", knn_value, linear_value, title)
    return tuple(found)


def _pair(arm: str, on: str, knn: float, linear: float, title: str = "") -> list[Reference]:
    # The authors' probe takes the maximum over epochs; its last epoch was not published.
    values = (("knn_top1", knn), ("crop_probe_top1_best", linear))
    return [Reference(arm=arm, set=on, key=key, value=round(v / 100, 4), title=title) for key, v in values]


def _paper_grids(scenes: str, steps: int, methods: tuple[str, ...], on: tuple[str, ...]) -> tuple[Grid, Grid]:
    """Baselines with image views, and SAMCLR. Each set of scenes has one budget: the paper's epochs as steps."""
    images = Grid(scenes=(scenes,), methods=methods, strategies=("image",), steps=steps, on=on)
    regions = Grid(scenes=(scenes,), strategies=("region",), segmenters=(PAPER_SEGMENTER,), steps=steps, on=on)
    return images, regions


PAPER = Study(
    name="paper",
    summary="Tables 1 to 3 of the SAMCLR paper: does pre-training on one region at a time beat whole images?",
    grids=(
        *_paper_grids("cityscapes", 17_600, ("moco", "dino", "simclr"), SETS),  # 1600 epochs
        *_paper_grids("ade20k", 19_500, ("moco", "dino", "simclr"), SETS),  # 250 epochs
        *_paper_grids("imagenette", 28_800, ("dino", "simclr"), ("imagenette",)),  # 800 epochs
    ),
    evaluations=(*(Evaluation(set=name) for name in SETS), Evaluation(set=ANY, kind="dense")),
    measuring=EvaluationConfig(protocols=(KnnConfig(knn_k=200, knn_temperature=0.1), CropProbeConfig(crop_probe=True))),
    references=_references(),
    quoted=PAPER_SOURCE,
    headline="*.simclr.region.*",
)

TEMPERATURE = Study(
    name="temperature",
    summary="The paper ran SAMCLR at temperature 0.07 and SimCLR at 0.5: how much of the gain is the temperature's?",
    grids=(Grid(temperatures=(0.07, 0.5)),),
)

CONTROLS = Study(
    name="controls",
    summary="Is it the object, the smaller crop, or the mask's quality? All arms at one temperature.",
    grids=(
        Grid(strategies=("image",), temperatures=(0.07,)),
        Grid(strategies=("random-box",), temperatures=(0.07,)),
        Grid(
            strategies=("region",),
            segmenters=("felzenszwalb", PAPER_SEGMENTER, "labels"),
            temperatures=(0.07,),
        ),
    ),
)

PADDING = Study(
    name="padding",
    summary="The paper multiplies boxes by c = 1.3 and shows no other value: which c is best?",
    grids=(Grid(strategies=("region",), temperatures=(0.07,), paddings=(1.0, 1.15, 1.3, 1.5, 1.75, 2.0)),),
)

# The demo's settings (samclr.demo.demo), but for square windows and mixed backgrounds: every arm can have these.
SMOKE = Study(
    name="smoke",
    summary="The controls in minutes on a CPU: scenes of handwritten digits on clutter, and a small SAM that ships "
    "with samclr. It shows that everything works; digits are not photographs.",
    grids=(
        Grid(strategies=("image",), temperatures=(0.2,)),
        Grid(strategies=("random-box",), segmenters=("sam-digits",), temperatures=(0.2,)),
        Grid(
            strategies=("region",),
            segmenters=("felzenszwalb", "sam-digits", "labels", PAPER_SEGMENTER),
            temperatures=(0.2,),
        ),
    ),
    optim=OptimConfig(global_batch_size=128, steps=150, optimizer="adamw", lr=2e-3, warmup_steps=10),
    measuring=EvaluationConfig(data=EvaluationData(image_px=32)),
    segmenters=(
        ("felzenszwalb", SegmenterConfig(scale=3000.0, sigma=0.4, min_size=30)),
        ("labels", SegmenterConfig(segmenter="labels", ignore_label=(0,))),
        (
            "sam-digits",
            SegmenterConfig(
                segmenter="sam-digits",
                masks=MaskConfig(points_per_side=8, min_mask_region_area=40),
                compute=ComputeConfig(device="cpu"),
            ),
        ),
    ),
    filter=FilterConfig(min_area_px=20, max_area_frac=0.1, padding=1.5),
    augment=AugmentConfig(flip_prob=0.0, jitter_strength=1.0, grey_prob=0.5, blur_prob=0.2, blur_sigma=(0.1, 1.0)),
    backbone="small-cnn",
    projector_hidden=None,
    size_px=32,
    crop_scale=(0.5, 1.0),
    references=(
        Reference(arm="untrained", set="digits", key="knn_top1", value=0.367),
        Reference(arm="digits.simclr.image.*", set="digits", key="knn_top1", value=0.418),
        Reference(arm="digits.simclr.region.sam-digits.*", set="digits", key="knn_top1", value=0.775),
    ),
    quoted="the README's demo: mean of seeds 0 to 2 on 600 scenes after 180 steps, with mixed backgrounds; this study "
    "takes fewer of both and mixes none",
    headline="*.region.sam-digits.*",
    on_request=(PAPER_SEGMENTER,),
    generated=400,
    device="cpu",
)


def _adapt_variants() -> tuple[Variant, ...]:
    """The recipe `adapt`, it without each of its pieces, and what is done without it, with one budget."""
    adapt = RECIPES["adapt"].config
    model, optim = adapt.model, adapt.optim
    bare = replace(optim, layer_decay=None, head_warmup_steps=0, lr=1e-4)  # a usual rate for fine-tuning

    def image_views(recipe: str, **changes: Any) -> PretrainConfig:
        config = RECIPES[recipe].config
        return replace(config, group=replace(config.group, size_px=adapt.group.size_px), **changes)

    gentle = image_views("simclr", model=model, optim=optim, anchor=adapt.anchor)
    gentle = replace(gentle, group=adapt.group, augment=adapt.augment)
    changed = (
        ("naive.image", "naive continuing, image views", image_views("simclr", optim=bare)),
        ("naive.region", "naive continuing, region views", image_views("samclr", optim=bare)),
        ("adapt", "adapt", adapt),
        ("no-regions", "adapt, images contrasted and not their regions", gentle),
        ("no-anchor", "adapt without anchor", replace(adapt, anchor=replace(adapt.anchor, anchor="none"))),
        ("norm-trained", "adapt, batch norm trained", replace(adapt, model=replace(model, frozen_norm="none"))),
        ("one-rate", "adapt without layer decay", replace(adapt, optim=replace(optim, layer_decay=None))),
    )
    return tuple(Variant(name=name, title=title, config=config) for name, title, config in changed)


ADAPT = Study(
    name="adapt",
    summary="Does continuing trained weights on scenes gain anything, what is forgotten, and what does each piece do?",
    variants=_adapt_variants(),
    continues=True,
    headline="*.adapt",
)

STUDIES = {study.name: study for study in (PAPER, TEMPERATURE, CONTROLS, PADDING, SCENES, ADAPT, SMOKE, DENSE_SMOKE)}

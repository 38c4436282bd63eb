"""Settings of runs of seconds."""

from dataclasses import replace
from pathlib import Path

from samclr.config import (
    AnchorConfig,
    DataConfig,
    EvaluationData,
    FilterConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    ProjectorConfig,
    RuntimeConfig,
    ViewGroup,
)
from samclr.config.recipes import RECIPES


def small_config(scenes: Path, regions: Path | None = None, recipe: str = "samclr", steps: int = 4) -> PretrainConfig:
    """A run of seconds: small-cnn, 24 px, batch 8, one thread; SGD at 0.05 or the recipe's other optimiser."""
    optim = RECIPES[recipe].config.optim
    optim = OptimConfig(lr=0.05) if optim.optimizer == "sgd" else replace(optim, warmup_steps=0)
    return replace(
        RECIPES[recipe].config,
        data=DataConfig(scenes=(scenes,), regions=regions, bank=scenes.parent / "bank"),
        filter=FilterConfig(min_area_px=20),
        group=ViewGroup(size_px=24),
        local=replace(RECIPES[recipe].config.local, local_size_px=12),
        method=replace(RECIPES[recipe].config.method, projector=ProjectorConfig(projector_out=16)),
        model=ModelConfig(backbone="small-cnn"),
        optim=replace(optim, global_batch_size=8, steps=steps),
        evaluation=EvaluationData(image_px=24),
        runtime=RuntimeConfig(device="cpu", num_threads=1, workers=1),
    )


def patches_config(scenes: Path, regions: Path | None = None, recipe: str = "dino", steps: int = 4) -> PretrainConfig:
    """DINO on a small ViT with its terms and a lagged anchor: all that looks at patches."""
    config = small_config(scenes, regions, recipe, steps)
    terms = {"region_weight": 1.0, "masked_patch_weight": 1.0, "masked_patch_frac": (0.5, 0.7)}
    return replace(
        config,
        group=ViewGroup(size_px=48),
        local=replace(config.local, num_local_views=2, local_size_px=32),
        model=ModelConfig(backbone="test_vit"),
        views=replace(config.views, carried_regions=3),
        method=replace(config.method, num_prototypes=64, **terms),
        anchor=AnchorConfig(anchor="both", anchor_of="lagged", anchor_refresh_steps=4),
    )

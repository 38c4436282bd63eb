"""Settings of runs of seconds."""

from dataclasses import replace
from pathlib import Path

from samclr.config import (
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
    """A run of seconds: small-cnn, 24 px, batch 8, one thread."""
    return replace(
        RECIPES[recipe].config,
        data=DataConfig(scenes=(scenes,), regions=regions, bank=scenes.parent / "bank"),
        filter=FilterConfig(min_area_px=20),
        group=ViewGroup(size_px=24),
        local=replace(RECIPES[recipe].config.local, local_size_px=12),
        method=replace(RECIPES[recipe].config.method, projector=ProjectorConfig(projector_out=16)),
        model=ModelConfig(backbone="small-cnn"),
        optim=OptimConfig(global_batch_size=8, steps=steps, lr=0.05),
        evaluation=EvaluationData(image_px=24),
        runtime=RuntimeConfig(accelerator="cpu", num_threads=1, num_workers=1),
    )

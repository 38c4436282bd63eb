"""What is settled and told before the first step: what was left open, and what the run takes."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from samclr.config.pretrain import PretrainConfig
from samclr.config.sizing import filled_from, fit_folder, fit_length
from samclr.datasets.sources import list_scenes
from samclr.log import tell
from samclr.models.devices import choose_device
from samclr.runs.checkpoint import load_config, newest_step
from samclr.runs.directory import has_checkpoint
from samclr.scenes.refs import SceneRef
from samclr.training.costs import cost_rows
from samclr.training.pace import logged_pace, measure_pace


def fit_to_folder(config: PretrainConfig, run: Path, listed: bool = False) -> tuple[PretrainConfig, list[SceneRef]]:
    """What is open as the run has it, or by folder and device; the steps of a new run stay open (see `settle`).

    Returns the scenes, too, where they were listed.
    """
    if config.auto and has_checkpoint(run):
        config = filled_from(config, load_config(run))
    refs = list_scenes(config.data.scenes, config.data.image_column) if config.auto or listed else []
    if config.auto:
        kind = choose_device(config.runtime.device).type
        half = "bfloat16" if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        config = fit_folder(config, len(refs), kind, half, os.cpu_count() or 1)
    return config, refs


def settle(
    fabric: Fabric, config: PretrainConfig, run: Path, refs: Sequence[SceneRef], announce: bool
) -> PretrainConfig:
    """The configuration with nothing left open; told, where wanted, is what it takes. All ranks call it together."""
    done = newest_step(run) or 0
    is_open, is_sized = "steps" in config.auto, bool(config.auto)
    if not is_open and (not announce or done >= config.optim.num_steps(len(refs))):
        return replace(config, auto=())
    pace = logged_pace(config, run) if done else None
    pace = fabric.broadcast(pace or measure_pace(fabric, config))
    config = fit_length(config, len(refs), fabric.device.type, pace.step_s)
    if announce and fabric.is_global_zero:
        for row in cost_rows(config, run, refs, pace, fabric.device.type, done):
            tell(f"{row['what']:<16} {row['value']}")
        if is_sized:
            tell("sized by folder, device and the measured rate; `budget` paper takes the recipe's own numbers")
    return config

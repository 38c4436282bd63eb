"""What is settled and told before the first step: what was left open, and what the run takes."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from lightning_fabric import Fabric

from samclr.config.pretrain import PretrainConfig
from samclr.config.sizing import filled_from, fit_folder, fit_length
from samclr.datasets.sources import list_data
from samclr.errors import ConfigError
from samclr.log import option_of, say, tell
from samclr.models.devices import choose_device
from samclr.runs.directory import has_checkpoint
from samclr.runs.saved import load_config, newest_step
from samclr.scenes.refs import SceneRef
from samclr.training.costs import costs_of, num_images_of
from samclr.training.devices import advice_on_memory
from samclr.training.memory import fit_to_memory
from samclr.training.pace import Pace, logged_pace, measure_pace
from samclr.views.data import refuse_too_few, share_held_out


def fit_to_folder(config: PretrainConfig, run: Path, listed: bool = False) -> tuple[PretrainConfig, list[SceneRef]]:
    """What is open as the run has it, or by folder and device; the steps of a new run stay open (see `settle`).

    Returns the scenes, too, where they were listed.

    Raises:
        ScenesError: too few to hold any out.
        ConfigError: a new run's views are all local.
    """
    if config.group.role != "global" and not has_checkpoint(run):
        raise ConfigError(
            f"role is {config.group.role}; expected global: local views are those of {option_of('num_local_views')}",
            "role",
        )
    if config.auto and has_checkpoint(run):
        config = filled_from(config, load_config(run))
    refs = list_data(config.data) if config.auto or listed else []
    config = _hold_out(config, run, refs)
    if refs:
        refuse_too_few(config.data, len(refs))
    if config.auto:
        kind = choose_device(config.runtime.device).type
        has_bfloat16 = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        config = fit_folder(
            config,
            num_images_of(config, run, refs),
            kind,
            "bfloat16" if has_bfloat16 else "float16",
            os.cpu_count() or 1,
        )
    return config, refs


def _hold_out(config: PretrainConfig, run: Path, refs: Sequence[SceneRef]) -> PretrainConfig:
    """With the share of scenes that is held out, where that is left open: as the run has it, else a new run's."""
    if config.data.held_out is None and has_checkpoint(run):
        share = load_config(run).data.held_out or 0.0
    else:
        share = share_held_out(config, refs)
    return replace(config, data=replace(config.data, held_out=share))


def settle(
    fabric: Fabric, config: PretrainConfig, run: Path, refs: Sequence[SceneRef], announce: bool
) -> PretrainConfig:
    """The configuration with nothing left open; told, where wanted, is what it takes. All ranks call it together."""
    done, num_images = newest_step(run) or 0, num_images_of(config, run, refs)
    sized = ", ".join("learning rate" if name == "lr" else name.replace("_", " ") for name in config.auto)
    trial = _without_weights(config) if done else config  # the file may be gone, and the run has its own
    with advice_on_memory(config.runtime):
        config = replace(fit_to_memory(fabric, trial, refs, announce), model=config.model)
    if "steps" not in config.auto and (not announce or done >= config.num_steps(num_images)):
        return replace(config, auto=())
    with advice_on_memory(config.runtime):
        pace = logged_pace(config, run) if done else None
        pace = fabric.broadcast(pace or measure_pace(fabric, replace(config, model=trial.model)))
    config = fit_length(config, num_images, fabric.device.type, pace.step_s)
    if announce and fabric.is_global_zero:
        for row in costs_of(config, run, refs, pace, fabric.device.type, done).rows():
            tell(f"{row['what']:<16} {row['value']}")
        if sized:
            tell(f"{sized}: fitted to folder and device; {option_of('budget')} paper takes the recipe's numbers")
        _warn_of_memory(fabric, pace)
    return config


def _without_weights(config: PretrainConfig) -> PretrainConfig:
    return replace(config, model=replace(config.model, pretrained=None))


def say_extension(config: PretrainConfig, run: Path) -> None:
    """Say that a finished run goes on, where it is about to."""
    last = config.extensions[-1:]
    if last and newest_step(run) == last[0].after_steps:
        say(f"{run} has finished its {last[0].after_steps:,} steps and is extended ({last[0].schedule})")


def _warn_of_memory(fabric: Fabric, pace: Pace) -> None:
    on_gpu = fabric.device.type == "cuda"
    has = psutil.virtual_memory().total
    if on_gpu:
        has = torch.cuda.get_device_properties(fabric.device).total_memory
    if pace.memory_bytes is not None and pace.memory_bytes > has:
        smaller = [option_of(name) for name in ("micro_batch_size", "global_batch_size", "size_px")]
        say(
            f"a step takes about {pace.memory_bytes / 1e9:.1f} GB of the {has / 1e9:.1f} GB there are; "
            f"give a smaller {', '.join(smaller)}"
        )

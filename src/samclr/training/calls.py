"""The room's function of the public API: pretrain."""

import os
from dataclasses import replace
from pathlib import Path

from samclr.bank.places import refuse_inside_scenes
from samclr.config.pretrain import PretrainConfig
from samclr.datasets.names import absolute
from samclr.log import option_of
from samclr.runs.run import Run
from samclr.training.pretrain import pretrain as train


def pretrain(config: PretrainConfig, out: "str | os.PathLike[str]") -> Run:
    """Pre-train into a run directory, as `samclr pretrain` does. Safe to interrupt: the same call resumes.

        data = DataConfig(scenes=(Path("photos"),), regions=Path("photos.regions"))
        config = replace(RECIPES["samclr"].config, data=data)
        run = samclr.pretrain(config, "runs/photos")

    A signal (SIGTERM, Ctrl-C) ends it after the step in hand and keeps a checkpoint: then `run.step` is less than the
    steps asked for.

    Args:
        config: all settings; samclr.config.recipes.RECIPES has those of the papers.
        out: run directory, made if missing; one with the same settings and scenes is resumed.

    Raises:
        ConfigError: the backbone does not take such views.
        UsageError: the strategy needs regions and none were named, or `out` lies inside the scenes.
        RunError: `out` is in use, holds something else or other settings, or the loss is no longer finite.
        ScenesError, PartsError: no scene can be used, or bank or regions cannot be read.
    """
    data = config.data
    config = replace(
        config,
        data=replace(
            data,
            scenes=tuple(absolute(path) for path in data.scenes),
            regions=data.regions and data.regions.absolute(),
            bank=data.bank and data.bank.absolute(),
        ),
    )
    path = Path(out).absolute()
    refuse_inside_scenes(path, config.data.scenes, option_of("out"))
    train(config, path)
    return Run(path)

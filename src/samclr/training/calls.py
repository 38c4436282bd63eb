"""The room's function of the public API: pretrain."""

import os
from dataclasses import replace
from pathlib import Path

from samclr.config.pretrain import PretrainConfig
from samclr.datasets.names import absolute_data
from samclr.runs.run import Run
from samclr.training.inputs import check_inputs
from samclr.training.pretrain import pretrain as train


def pretrain(config: PretrainConfig, out: "str | os.PathLike[str]") -> Run:
    """Pre-train into a run directory, as `samclr pretrain` does. Safe to interrupt: the same call resumes.

        data = DataConfig(scenes=(Path("photos"),), regions=Path("photos.regions"))
        config = replace(RECIPES["samclr"].config, data=data)
        run = samclr.pretrain(config, "runs/photos")

    What `config.auto` names is decided by folder, device and a measured rate, once; all other settings are as they
    stand. More steps than a finished run has extend it.

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
    config = replace(config, data=absolute_data(config.data))
    path = Path(out).absolute()
    check_inputs(config, path)
    train(config, path)
    return Run(path)

"""Run: a run directory as an object."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from samclr.config.methods import Weights
from samclr.config.pretrain import PretrainConfig
from samclr.runs.checkpoint import load_backbone
from samclr.runs.directory import SUMMARY_FILE, read_json, read_metrics
from samclr.runs.results import RunResult, results_of_run
from samclr.runs.saved import load_config, newest_step


class Run(os.PathLike[str]):
    """One pre-training run on disk: what it was told, how it went, and what came of it. Also a path, wherever one fits.

        run = samclr.open_run("runs/photos")
        run.step, run.metrics()[-1]["loss"], run.backbone()

    Attributes:
        path: the run directory, absolute.
    """

    def __init__(self, path: "str | os.PathLike[str]"):
        """Raises RunError if `path` is not a run directory, or of a newer format."""
        self.path = Path(path).absolute()
        self.config  # noqa: B018 - read now, so that a wrong path is refused here

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self.config.recipe}, {self.step or 0} steps)"

    @cached_property
    def config(self) -> PretrainConfig:
        """All settings of the run, with its `extensions` if it was given more steps."""
        return load_config(self.path)

    @property
    def step(self) -> int | None:
        """Optimiser steps done by the newest whole checkpoint; None if there is none yet."""
        return newest_step(self.path)

    @property
    def summary(self) -> dict[str, Any]:
        """Counts of images, regions and views, and the steps done of all steps; empty before the first checkpoint."""
        return dict(read_json(self.path / SUMMARY_FILE, {}))

    def metrics(self) -> list[dict[str, Any]]:
        """One row a step: step, epoch, loss, lr, views_per_s and what the method measures (docs/metrics.md)."""
        return read_metrics(self.path)

    def results(self) -> list[RunResult]:
        """Results of `samclr.evaluate` and `samclr evaluate` that were kept in this run.

        `is_own` and `is_current` tell those of the run's present weights.
        """
        return results_of_run(self.path)

    def backbone(self, which: Weights | None = None) -> nn.Module:
        """The backbone of the newest checkpoint in evaluation mode: normalised [n 3 h w] -> features [n d].

        which: the weights that were trained (student), their running mean (teacher), those that the run exports as
            they were at its best step (best), or those that it began with (start); None takes those that the run
            exports (`config.exported`).

        Raises:
            RunError: there is no checkpoint yet, or the run has no teacher or no best step.
        """
        return load_backbone(self.path, which)


def open_run(path: "str | os.PathLike[str]") -> Run:
    """Open the run directory that `samclr.pretrain` or `samclr pretrain --out` made.

    Raises:
        RunError: it is not a run directory, or one of a newer format.
    """
    return Run(path)

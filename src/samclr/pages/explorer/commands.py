"""What the page gives to copy: options, and whole commands for a POSIX shell."""

import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from samclr.config.recipes import RECIPES
from samclr.config.serialise import Settings
from samclr.pages.explorer.asked import Sampling


def changed_options(chosen: Settings, usual: Settings) -> list[str]:
    """The settings that differ from the usual ones, as words of a command line."""
    words: list[str] = []
    settings: Any = chosen
    for one in fields(settings):
        value = getattr(chosen, one.name)
        if value == getattr(usual, one.name):
            continue
        option = one.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *(_word(part) for part in (value if isinstance(value, tuple) else (value,)))]
    return words


def sampling_options(chosen: Sampling, usual: Sampling) -> list[str]:
    """Likewise of everything that decides the views."""
    words: list[str] = []
    for name in ("views", "filter", "group", "local", "augment"):
        words += changed_options(getattr(chosen, name), getattr(usual, name))
    for name in ("seed", "global_batch_size"):
        if getattr(chosen, name) != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", str(getattr(chosen, name))]
    return words


class Commands:
    """Commands over what the explorer was started with."""

    def __init__(self, scenes: Sequence[Path], regions: Path | None, run: Path | None, image_column: str | None):
        self._scenes = [str(path) for path in scenes]
        self._column = [] if image_column is None else ["--image-column", image_column]
        self._regions, self._run = regions, run

    def look(self, options: Sequence[str]) -> str:
        """The page of the store under a filter; empty without a store."""
        if self._regions is None:
            return ""
        words = ["samclr", "look", str(self._regions), "--scenes", *self._scenes, *self._column, *options]
        return shlex.join([*words, "--out", "look.html"])

    def pretrain(self, chosen: Sampling, begun: Sampling) -> str:
        """Training on such views. begun: the run's own settings, where there is one."""
        if self._run is not None:
            words = ["samclr", "pretrain", "from-config", str(self._run), *sampling_options(chosen, begun)]
            return shlex.join([*words, "--out", "runs/explored"])
        recipe = "simclr" if chosen.views.strategy == "image" else "samclr"
        data = ["--scenes", *self._scenes, *self._column]
        if chosen.views.strategy != "image" and self._regions is not None:
            data += ["--regions", str(self._regions)]
        usual = Sampling.of(RECIPES[recipe].config)
        # pretrain fits an unstated batch to the number of scenes, and which scenes a step shows goes by it
        options = sampling_options(chosen, replace(usual, global_batch_size=chosen.global_batch_size))
        options += ["--global-batch-size", str(chosen.global_batch_size)]
        return shlex.join(["samclr", "pretrain", recipe, *data, *options, "--out", "runs/explored"])


def _word(value: Any) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)

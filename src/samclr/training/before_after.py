"""Measuring a run before and after: its start, some steps, its end, and which step is kept as the best."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from samclr.bank.bank import SceneBank
from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import fingerprint
from samclr.errors import ConfigError, RunError
from samclr.evaluation.before_after import AGREEMENT, Measured, compared, measured_parts
from samclr.evaluation.label_free import (
    SceneFeatures,
    drift,
    rank_me,
    region_agreement,
    regions_of_cells,
    scene_features,
)
from samclr.log import option_of, tell
from samclr.models.lora import merged
from samclr.models.maps import lacks_maps
from samclr.regions.index import RegionIndex
from samclr.runs.before_after import (
    HELD_OUT,
    BeforeAfter,
    Measurement,
    forget_weights,
    keep_weights,
    kept_weights,
    read_before_after,
)
from samclr.runs.checkpoint import load_backbone
from samclr.runs.extension import without_length
from samclr.views.crop import ViewCropper
from samclr.views.data import TrainingData, num_workers, open_held_out
from samclr.views.shares import mask_shares

MOST_HELD_OUT = 256  # scenes that label-free figures are of
MEASURED_TIMES = 4  # in a run, where measure_every is not stated


class Comparison:
    """Of one run. Measurements stand in the run's before-after.json as soon as they are made: none is made twice."""

    def __init__(self, config: PretrainConfig, run: Path, data: TrainingData, num_steps: int, device: torch.device):
        """Raises EvaluationError if a set cannot be opened, ScenesError if none of the scenes held out can be used."""
        self._config, self._run, self._num_steps, self._device = config, run, num_steps, device
        self._parts = measured_parts(config)
        self._every = measured_every(config, num_steps)
        settings = fingerprint([without_length(config), data.fingerprint])
        found = read_before_after(run)
        if found is None or found.settings != settings:  # of a run that was started over
            forget_weights(run, "start")
            forget_weights(run, "best")
            found = BeforeAfter(settings=settings)
        self._found, self._num_held_out = found, data.num_held_out
        self._held_out = open_held_out(config) if data.num_held_out else None

    def begin(self, backbone: nn.Module, first_step: int) -> None:
        """Before the first step, and before the first after a resumption: see that the start is kept and measured.

        Raises:
            ConfigError, EvaluationError: the backbone does not do for what is to be measured.
            RunError: the best step was chosen by another figure, or on other images.
        """
        if self._held_out is not None and (reason := lacks_maps(backbone, "figures of scenes held out")):
            raise ConfigError(f"{reason}; give {option_of('held_out')} 0", "held_out")
        for part in self._parts:
            part.check(backbone, self._device)
        if first_step < self._num_steps or self._found.best_step is not None:  # else there is no step left to choose
            self._settle_choice(first_step)
        if kept_weights(self._run, "start") is None:
            start = backbone if first_step == 0 else load_backbone(self._run, "start")
            keep_weights(self._run, "start", 0, self._weights(start))
        if first_step == 0:
            self._say()
        if first_step < self._num_steps and not self._has(0):
            start = backbone if first_step == 0 else load_backbone(self._run, "start")
            self._choose(0, start)

    def after(self, steps_done: int, backbone: nn.Module) -> None:
        """After a step that is to be measured: do so, and keep the weights if they are the best so far."""
        if not self._has(steps_done):
            self._choose(steps_done, backbone)

    def finish(self) -> None:
        """Compare start, end and best, once the last checkpoint is saved."""
        found = self._found
        tests = [part for part in self._parts if part.part == "test"]
        if found.end_step == self._num_steps and found.table and all(self._has(self._num_steps, one) for one in tests):
            return
        steps = {0: "start", self._num_steps: None} | ({} if found.best_step is None else {found.best_step: "best"})
        steps[0], steps[self._num_steps] = "start", None
        backbones = {step: load_backbone(self._run, which) for step, which in steps.items()}  # type: ignore[arg-type]
        for step, backbone in backbones.items():
            for part in tests:
                if not self._has(step, part):
                    found.rows += part.measure(backbone, step, self._device)
                    found.write(self._run)
        if self._held_out is not None and not any(
            row.part == "held-out" and row.step == self._num_steps for row in found.rows
        ):
            found.rows = [row for row in found.rows if row.part != "held-out"]
            found.rows += self._label_free(*self._held_out, backbones)
        table = []
        for row in [one for one in found.rows if one.step == 0 and one.part != "validation" and self._is_current(one)]:
            others = {step: self._like(row, step) for step in steps}
            end = others[self._num_steps]
            if end is not None:
                table.append(compared(row, end, None if found.best_step is None else others[found.best_step]))
        found.table, found.end_step = table, self._num_steps
        found.write(self._run)

    # ---- rows ----

    def _has(self, step: int, only: Measured | None = None) -> bool:
        wanted = [only] if only is not None else [part for part in self._parts if part.part == "validation"]
        keys = {row.key for row in self._found.rows}
        return all((step, part.part, part.images, figure) in keys for part in wanted for figure in part.figures)

    def _is_current(self, row: Measurement) -> bool:
        return row.part == "held-out" or any(
            row.images == part.images and row.part == part.part for part in self._parts
        )

    def _like(self, row: Measurement, step: int) -> Measurement | None:
        wanted = (step, *row.key[1:])
        return next((one for one in self._found.rows if one.key == wanted), None)

    # ---- the best step ----

    def _chosen(self) -> tuple[Measured, str] | None:
        by = self._config.measuring.measure_by
        parts = [part for part in self._parts if part.part == "validation"]
        dense = [part for part in parts if part.dense is not None]
        labelled = [part for part in parts if part.labelled is not None]
        order = {"auto": [*dense, *labelled], "dense": dense, "knn": labelled}[by]
        return (order[0], next(iter(order[0].figures))) if order else None

    def _settle_choice(self, first_step: int) -> None:
        """Note what the best step is chosen by. Steps that were compared by one figure are not by another."""
        found, chosen = self._found, self._chosen()
        if chosen is None:
            return
        part, figure = chosen
        key, words = [part.part, part.images, figure], f"{part.figures[figure]} on {part.on}, {part.title}"
        known = found.chosen
        if known is None and any(row.key == (found.best_step, *key) for row in found.rows):  # of before it was noted
            known = key
        if found.best_step is not None and known != key:
            if first_step > 0:
                now = f"by {words}" if words != found.chosen_by else "by the same figure on other images or settings"
                raise RunError(
                    f"{self._run} chose its best step, {found.best_step:,}, by {found.chosen_by}, and would now choose "
                    f"{now}; give the sets and {option_of('measure_by')} that it was started with, or none; its start, "
                    f"end and best step are measured on any set by `samclr evaluate`"
                )
            found.best_step = None
            found.rows = [row for row in found.rows if row.part != "validation"]
        found.chosen, found.chosen_by = key, words

    def _choose(self, step: int, backbone: nn.Module) -> None:
        found, chosen = self._found, self._chosen()
        for part in self._parts:
            if part.part == "validation" and not self._has(step, part):
                found.rows += part.measure(backbone, step, self._device)
        if chosen is None:
            found.write(self._run)
            return
        part, figure = chosen
        values = {row.step: row.value for row in found.rows if [*row.key[1:]] == found.chosen}
        tell(f"step {step:,}: {part.figures[figure]} on {part.on} is {values[step]:.1%}, on {part.title}")
        best = max(values, key=lambda one: (values[one], -one))
        if best == step:  # the weights first: whatever a kill leaves fits together
            keep_weights(self._run, "best", step, self._weights(backbone))
            found.best_step = step
        found.write(self._run)
        forget_weights(self._run, "best", but=found.best_step)

    def _weights(self, backbone: nn.Module) -> dict[str, torch.Tensor]:
        return merged(backbone.state_dict(), self._config.model.lora_scale)

    def _say(self) -> None:
        every = f"every {self._every:,} steps" if self._every > 1 else "every step"
        for part in self._parts:
            if part.part == "validation":
                tell(
                    f"before and after on {part.on}: the start, {every} and the end on "
                    f"{part.title}, never on its test images until the end"
                )
        if self._found.chosen_by is not None:
            tell(f"the best step is kept by {self._found.chosen_by}")
        if self._num_held_out:
            tell(
                f"{self._num_held_out:,} scenes are held out, by their ids, and not trained on: the start and the end "
                f"are compared on them without labels"
            )

    # ---- without labels ----

    def _label_free(
        self, bank: SceneBank, regions: RegionIndex | None, backbones: dict[int, nn.Module]
    ) -> list[Measurement]:
        images = np.unique(np.linspace(0, bank.num_images - 1, min(bank.num_images, MOST_HELD_OUT)).round().astype(int))
        height, width = bank.native_hw[images].T
        boxes = np.stack([0 * width, 0 * width, width, height], 1)
        cropper, size_px = ViewCropper(bank, num_workers(self._config)), self._config.group.size_px
        pixels = cropper.crop(images, boxes[:, None], size_px)[:, 0]
        rows: list[Measurement] = []
        before: SceneFeatures | None = None
        cells: torch.Tensor | None = None
        for step, backbone in sorted(backbones.items()):
            features = scene_features(backbone, pixels, self._device)
            before = features if before is None else before
            where: dict[str, Any] = {"step": step, "part": "held-out", "on": HELD_OUT, "images": "", "n": len(images)}
            side = round(features.patches.shape[1] ** 0.5)
            if regions is not None and cells is None:
                cells = torch.from_numpy(
                    np.stack([_cells(regions, int(one), box, side) for one, box in zip(images, boxes, strict=True)])
                )
            if cells is not None:
                value, sums = region_agreement(features.patches, cells)
                title = "patch neighbours in the same region"
            if cells is not None and sums[:, 1].any():  # else no region is as large as two patches
                rows.append(Measurement(**where, figure=AGREEMENT, title=title, value=value, answers=sums.tolist()))
            numbers = {
                "effective rank of images": rank_me(features.images),
                "effective rank of patches": rank_me(features.patches.flatten(0, 1)),
                "drift of images": drift(before.images, features.images),
                "drift of patches": drift(before.patches, features.patches),
            }
            rows += [
                Measurement(**where, figure=title.replace(" ", "_"), title=title, value=value, is_share=False)
                for title, value in numbers.items()
            ]
        return rows


def _cells(regions: RegionIndex, image: int, box_xyxy: np.ndarray, side: int) -> np.ndarray:
    own = np.arange(regions.start[image], regions.start[image + 1])
    shares = mask_shares(regions, own, np.repeat(box_xyxy[None], len(own), 0), side)
    return regions_of_cells(shares, regions.area_px[own])


def is_compared(config: PretrainConfig, data: TrainingData) -> bool:
    """Whether a run is asked to measure itself before and after."""
    return config.runtime.knn_on is not None or config.measuring.dense_on is not None or data.num_held_out > 0


def measured_every(config: PretrainConfig, num_steps: int) -> int:
    """Steps between two measurements."""
    return config.measuring.measure_every or -(-num_steps // MEASURED_TIMES)

"""What a run takes: steps, time, disk and memory. As numbers, and in words."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samclr.bank.bank import KIND, missing_bytes
from samclr.config.pretrain import PretrainConfig
from samclr.log import option_of
from samclr.runs.checkpoint import KEPT
from samclr.runs.directory import SUMMARY_FILE, read_json
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder
from samclr.training.pace import BYTES_A_PARAMETER, TRIAL_STEPS, Pace
from samclr.training.progress import views_rate
from samclr.views.data import bank_path, num_usable, num_workers


@dataclass(frozen=True, kw_only=True)
class CardMemory:
    """What a step takes of a GPU, counted from what the backward pass keeps, without the bank.

    Attributes:
        card_gb: the card's memory.
        rows: of a device in a step. all_rows_mb: with all of them encoded at a time.
        fitting_rows: the most that fit at a time; 0 if not even two do. fitting_mb: with so many; None of 0.
    """

    card_gb: float
    rows: int
    all_rows_mb: float
    fitting_rows: int
    fitting_mb: float | None

    def text(self, precision: str) -> str:
        """In words."""
        of_all = f"all {self.rows} rows at once take about {self.all_rows_mb / 1e3:.1f} GB in {precision}"
        if self.fitting_mb is None:
            return f"does not fit: {of_all}"
        if self.fitting_rows == self.rows:
            return f"fits: {of_all}"
        return (
            f"fits with {option_of('micro_batch_size')} {self.fitting_rows}, about {self.fitting_mb / 1e3:.1f} GB; "
            f"{of_all}"
        )


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a run takes.

    Attributes:
        num_images: of the scenes.
        num_steps, steps_done: of the run; done so far.
        global_batch_size, micro_batch_size: images a step; rows that a device encodes at a time, None of all.
        num_views: that a step encodes, over all devices.
        num_epochs: of the whole run.
        optimizer, lr, num_warmup_steps: its learning rate, and the steps in which that rises.
        precision, device, num_devices, num_workers: that it runs in and on.
        expected_least_s, expected_most_s: time of the steps that are left, after packing.
        views_per_s_least, views_per_s_most: the speed that they come from.
        bank, bank_needed_mb: the scene bank, and what packing adds to it.
        disk, free_disk_mb: the folder that the run will lie in, or its nearest parent, and what is free there.
        run_mb: the run directory at most; None where the pace was read from the log.
        memory_mb: of the device in a step, by trial steps; None likewise.
        bank_on_device_mb: what a GPU holds beside it if the bank is put there; None where it cannot be.
        card: what a step would take of a GPU; None where that was not counted.
    """

    num_images: int
    num_steps: int
    steps_done: int
    global_batch_size: int
    micro_batch_size: int | None
    num_views: int
    num_epochs: float
    optimizer: str
    lr: float
    num_warmup_steps: int
    precision: str
    device: str
    num_devices: int
    num_workers: int
    expected_least_s: float
    expected_most_s: float
    views_per_s_least: float
    views_per_s_most: float
    bank: Path
    bank_needed_mb: float
    disk: Path
    free_disk_mb: float
    run_mb: float | None
    memory_mb: float | None
    bank_on_device_mb: float | None
    card: "CardMemory | None" = None

    def to_dict(self) -> dict[str, Any]:
        """Under these names, as `samclr pretrain --dry-run --json` prints them."""
        return asdict(self)

    def rows(self, among: str = "") -> list[dict[str, str]]:
        """In words, as rows of (what, value). among: what is said after the expected time."""
        of_steps = f"{self.num_steps:,} of {self.global_batch_size} images, {self.num_views:,} views; "
        of_steps += f"{self.num_epochs:,.0f} epochs"
        rows = {
            "images": f"{self.num_images:,}",
            "steps": of_steps + (f"; {self.steps_done:,} done" if self.steps_done else ""),
            "learning rate": f"{self.lr:g} of {self.optimizer}"
            + (f", after {self.num_warmup_steps:,} steps of warm-up" if self.num_warmup_steps else ""),
            "precision": f"{self.precision}, on {self.device}",
            "workers": f"{self.num_workers}",
            "expected time": f"{_duration(self.expected_least_s)} to {_duration(self.expected_most_s)} after packing, "
            f"at {views_rate(self.views_per_s_least, self.views_per_s_most)}{among}",
            "bank": str(self.bank),
            "room for bank": f"{self.bank_needed_mb / 1e3:.2f} GB more",
            "free disk": f"{self.free_disk_mb / 1e3:.1f} GB at {self.disk}",
        }
        if self.run_mb is not None:
            rows["run directory"] = f"{self.run_mb / 1e3:.2f} GB at most"
        if self.memory_mb is not None:
            parts = "" if self.micro_batch_size is None else f", {self.micro_batch_size} rows at a time"
            rows[f"memory on {self.device}"] = (
                f"about {self.memory_mb / 1e3:.1f} GB{parts}, by {TRIAL_STEPS} trial steps"
            )
        if self.card is not None:
            rows[f"on a card of {self.card.card_gb:.0f} GB"] = self.card.text(self.precision)
        if self.bank_on_device_mb is not None:
            rows["and for the bank"] = (
                f"{self.bank_on_device_mb / 1e3:.2f} GB, if it is put there ({option_of('bank_on')})"
            )
        return [{"what": what, "value": value} for what, value in rows.items()]


def num_images_of(config: PretrainConfig, run: Path, refs: Sequence[SceneRef]) -> int:
    """Images that a run trains on: as it has counted them; before that the usable scenes, as far as known."""
    counted: int | None = read_json(run / SUMMARY_FILE, {}).get("data", {}).get("images")
    return num_usable(config.data, refs) if counted is None else counted


def costs_of(
    config: PretrainConfig, run: Path, refs: Sequence[SceneRef], pace: Pace, device_kind: str, steps_done: int = 0
) -> Costs:
    """What a run takes that has done `steps_done`."""
    num_images = num_images_of(config, run, refs)
    num_steps, views = config.num_steps(num_images), config.views_per_step()
    bank = bank_path(config)
    folder = PartsFolder(bank, KIND) if (bank / "manifest.json").exists() else None
    existing = run if run.exists() else next(parent for parent in run.absolute().parents if parent.exists())
    left = max(num_steps - steps_done, 0)
    on_device = device_kind == "cuda" and config.data.codec == "raw" and config.runtime.bank_on in ("auto", "device")
    return Costs(
        num_images=num_images,
        num_steps=num_steps,
        steps_done=steps_done,
        global_batch_size=config.optim.global_batch_size,
        micro_batch_size=config.runtime.micro_batch_size,
        num_views=views,
        num_epochs=num_steps * config.optim.global_batch_size / num_images,
        optimizer=config.optim.optimizer,
        lr=config.optim.lr,
        num_warmup_steps=config.optim.warmup_steps,
        precision=config.runtime.precision,
        device=device_kind,
        num_devices=config.runtime.num_devices * config.runtime.num_nodes,
        num_workers=num_workers(config),
        expected_least_s=left * pace.least_s,
        expected_most_s=left * pace.most_s,
        views_per_s_least=views / pace.most_s,
        views_per_s_most=views / pace.least_s,
        bank=bank,
        bank_needed_mb=missing_bytes(folder, refs, config.data.max_side, config.data.codec) / 1e6,
        disk=existing,
        free_disk_mb=shutil.disk_usage(existing).free / 1e6,
        run_mb=None if pace.parameters is None else pace.parameters * BYTES_A_PARAMETER * KEPT / 1e6,
        memory_mb=None if pace.memory_bytes is None else pace.memory_bytes / 1e6,
        bank_on_device_mb=missing_bytes(None, refs, config.data.max_side) / 1e6 if on_device else None,
    )


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"

"""What a run takes: steps, time, disk and memory."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from samclr.bank.bank import KIND, missing_bytes
from samclr.config.pretrain import PretrainConfig
from samclr.log import option_of
from samclr.runs.checkpoint import KEPT
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder
from samclr.training.pace import BYTES_A_PARAMETER, TRIAL_STEPS, Pace
from samclr.views.data import bank_path, num_workers


def cost_rows(
    config: PretrainConfig,
    run: Path,
    refs: Sequence[SceneRef],
    pace: Pace,
    device_kind: str,
    steps_done: int = 0,
    among: str = "",
) -> list[dict[str, str]]:
    """Rows of (what, value): images, steps, time, disk and memory of a run that has done `steps_done`.

    among: what is said after the expected time.
    """
    num_steps, views = config.optim.num_steps(len(refs)), config.views_per_step()
    bank = bank_path(config)
    folder = PartsFolder(bank, KIND) if (bank / "manifest.json").exists() else None
    needed = missing_bytes(folder, refs, config.data.max_side, config.data.codec)
    existing = run if run.exists() else next(parent for parent in run.absolute().parents if parent.exists())
    epochs = num_steps * config.optim.global_batch_size / len(refs)
    of_steps = f"{num_steps:,} of {config.optim.global_batch_size} images, {views:,} views; {epochs:,.0f} epochs"
    left = num_steps - steps_done
    rows = {
        "images": f"{len(refs):,}",
        "steps": of_steps + (f"; {steps_done:,} done" if steps_done else ""),
        "precision": f"{config.runtime.precision}, on {device_kind}",
        "workers": f"{num_workers(config)}",
        "expected time": f"{_duration(left * pace.least_s)} to {_duration(left * pace.most_s)} after packing, "
        f"at {views / pace.most_s:,.0f} to {views / pace.least_s:,.0f} views/s{among}",
        "bank": str(bank),
        "room for bank": f"{needed / 1e9:.2f} GB more",
        "free disk": f"{shutil.disk_usage(existing).free / 1e9:.1f} GB at {existing}",
    }
    if pace.parameters is not None:
        rows["run directory"] = f"{pace.parameters * BYTES_A_PARAMETER * KEPT / 1e9:.2f} GB at most"
    if pace.memory_bytes is not None:
        rows[f"memory on {device_kind}"] = f"about {pace.memory_bytes / 1e9:.1f} GB, by {TRIAL_STEPS} trial steps"
    if device_kind == "cuda" and config.data.codec == "raw" and config.runtime.bank_on in ("auto", "device"):
        whole_bank = missing_bytes(None, refs, config.data.max_side)
        rows["and for the bank"] = f"{whole_bank / 1e9:.2f} GB, if it is put there ({option_of('bank_on')})"
    return [{"what": what, "value": value} for what, value in rows.items()]


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"

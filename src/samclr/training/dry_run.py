"""What a run would cost: measured on two steps of random pixels; nothing is packed or written."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from samclr.bank.bank import KIND, missing_bytes
from samclr.config.pretrain import PretrainConfig
from samclr.datasets.sources import list_scenes
from samclr.methods.create import create_method
from samclr.models.backbone import count_parameters
from samclr.models.resolve import resolve_config
from samclr.storage.parts import PartsFolder
from samclr.training.devices import create_fabric, set_up
from samclr.training.micro_batches import backward
from samclr.training.optim import create_optimizer
from samclr.views.data import bank_path
from samclr.views.make_batch import make_batch
from samclr.views.plan import ViewPlanner

TRIAL_STEPS = 2
CHECKPOINT_COPIES = 3  # weights and two optimiser moments at most


def estimate(config: PretrainConfig, run: Path) -> list[dict[str, Any]]:
    """Rows of (what, value): steps, time, disk and memory of a run. Of several devices, one is tried with its share."""
    config = resolve_config(config)
    ranks, whole = config.runtime.num_devices * config.runtime.num_nodes, config
    config = replace(
        config,
        optim=replace(config.optim, global_batch_size=max(config.optim.global_batch_size // ranks, 2)),
        runtime=replace(config.runtime, num_devices=1, num_nodes=1),
    )
    refs = list_scenes(config.data.scenes, config.data.image_column)
    bank = bank_path(config)
    folder = PartsFolder(bank, KIND) if (bank / "manifest.json").exists() else None
    num_steps = whole.optim.num_steps(len(refs))
    fabric = create_fabric(config)
    method = create_method(config, num_steps)
    parameters = count_parameters(method)
    optimizer = create_optimizer(method, config.optim)
    method, optimizer = set_up(fabric, method, optimizer, config.runtime)
    planner = ViewPlanner(
        image_hw=np.full((len(refs), 2), config.group.size_px),
        regions=None,
        seed=config.seed,
        images_per_step=config.optim.global_batch_size,
        views=config.views,
        groups=config.groups,
        augment=config.augment,
    )
    seconds = []
    for step in range(1 + TRIAL_STEPS):
        plan = planner.plan(step)
        pixels = [
            torch.randint(0, 256, (*group.boxes_xyxy.shape[:2], 3, group.size_px, group.size_px), dtype=torch.uint8)
            for group in plan.groups
        ]
        start = time.perf_counter()
        output = backward(fabric, method, make_batch(plan, pixels, fabric.device), config.runtime.micro_batch_size)
        optimizer.step()
        optimizer.zero_grad()
        method.module.after_step(step, output.pending)
        float(output.loss.detach())
        seconds.append(time.perf_counter() - start)
    step_s = float(np.mean(seconds[1:]))
    views = whole.views_per_step()
    among = f" on {ranks} devices, communication between them not counted" if ranks > 1 else ""
    memory = torch.cuda.max_memory_allocated() if fabric.device.type == "cuda" else psutil.Process().memory_info().rss
    needed = missing_bytes(folder, refs, config.data.max_side, config.data.codec)
    existing = run if run.exists() else next(parent for parent in run.absolute().parents if parent.exists())
    rows = [
        {"what": "images", "value": f"{len(refs):,}"},
        {"what": "steps", "value": f"{num_steps:,} of {whole.optim.global_batch_size} images, {views:,} views"},
        {"what": "expected time", "value": f"{_duration(num_steps * step_s)} at {views / step_s:.0f} views/s{among}"},
        {"what": "bank", "value": str(bank)},
        {"what": "room for bank", "value": f"{needed / 1e9:.2f} GB more"},
        {"what": "run directory", "value": f"{parameters * 4 * CHECKPOINT_COPIES * 2 / 1e9:.2f} GB at most"},
        {"what": "free disk", "value": f"{shutil.disk_usage(existing).free / 1e9:.1f} GB at {existing}"},
        {"what": f"memory on {fabric.device.type}", "value": f"{memory / 1e9:.2f} GB after {TRIAL_STEPS} trial steps"},
    ]
    if fabric.device.type == "cuda" and config.data.codec == "raw" and config.runtime.bank_on in ("auto", "device"):
        whole_bank = missing_bytes(None, refs, config.data.max_side)
        rows.append({"what": "and for the bank", "value": f"{whole_bank / 1e9:.2f} GB, if it is put there (--bank-on)"})
    return rows


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"

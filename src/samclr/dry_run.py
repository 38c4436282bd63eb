"""What a run would cost: measured on two steps of random pixels, nothing packed or written."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from samclr.config import PretrainConfig
from samclr.methods import create_method
from samclr.models.backbone import count_parameters
from samclr.optim import create_optimizer
from samclr.parts import PartsFolder
from samclr.pretrain import create_fabric, make_batch
from samclr.scenes.bank import KIND, missing_bytes
from samclr.scenes.sources import list_scenes
from samclr.training_data import bank_path
from samclr.views.plan import ViewPlanner

TRIAL_STEPS = 2
CHECKPOINT_COPIES = 3  # weights and two optimiser moments at most


def estimate(config: PretrainConfig, run: Path) -> list[dict[str, Any]]:
    """Rows of (what, value): steps, time, disk and memory of a run."""
    refs = list_scenes(config.data.scenes)
    bank = bank_path(config)
    folder = PartsFolder(bank, KIND) if (bank / "manifest.json").exists() else None
    num_steps = config.optim.num_steps(len(refs))
    fabric = create_fabric(config)
    method = create_method(config)
    parameters = count_parameters(method)
    method, optimizer = fabric.setup(method, create_optimizer(method, config.optim))
    method.mark_forward_method("loss")
    planner = ViewPlanner(
        image_hw=np.full((len(refs), 2), config.group.size_px),
        regions=None,
        seed=config.seed,
        images_per_step=config.optim.global_batch_size,
        views=config.views,
        groups=(config.group,),
        augment=config.augment,
    )
    seconds = []
    for step in range(1 + TRIAL_STEPS):
        plan = planner.plan(step)
        shape = (len(plan.image_index), config.group.num_views, 3, config.group.size_px, config.group.size_px)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        start = time.perf_counter()
        output = method.loss(make_batch(plan, [pixels], fabric.device))
        fabric.backward(output.loss)
        optimizer.step()
        optimizer.zero_grad()
        float(output.loss.detach())
        seconds.append(time.perf_counter() - start)
    step_s = float(np.mean(seconds[1:]))
    views = config.optim.global_batch_size * config.views.regions_per_image * config.group.num_views
    memory = torch.cuda.max_memory_allocated() if fabric.device.type == "cuda" else psutil.Process().memory_info().rss
    existing = run if run.exists() else next(parent for parent in run.absolute().parents if parent.exists())
    return [
        {"what": "images", "value": f"{len(refs):,}"},
        {"what": "steps", "value": f"{num_steps:,} of {config.optim.global_batch_size} images, {views:,} views"},
        {"what": "expected time", "value": f"{_duration(num_steps * step_s)} at {views / step_s:.0f} views/s"},
        {"what": "bank", "value": str(bank)},
        {"what": "room for bank", "value": f"{missing_bytes(folder, refs, config.data.max_side) / 1e9:.2f} GB more"},
        {"what": "run directory", "value": f"{parameters * 4 * CHECKPOINT_COPIES * 2 / 1e9:.2f} GB at most"},
        {"what": "free disk", "value": f"{shutil.disk_usage(existing).free / 1e9:.1f} GB at {existing}"},
        {"what": f"memory on {fabric.device.type}", "value": f"{memory / 1e9:.2f} GB after {TRIAL_STEPS} trial steps"},
    ]


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"

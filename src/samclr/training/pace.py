"""How fast a run will be: measured on a few steps of random pixels, or read from the run's own log."""

import gc
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch
from lightning_fabric import Fabric

from samclr.config.pretrain import PretrainConfig
from samclr.methods.create import create_method
from samclr.models.backbone import count_parameters
from samclr.runs.directory import read_metrics
from samclr.training.devices import set_up
from samclr.training.micro_batches import backward
from samclr.training.optim import create_optimizer
from samclr.views.batch import ViewBatch
from samclr.views.data import map_sides
from samclr.views.make_batch import make_batch
from samclr.views.plan import ViewPlan, ViewPlanner
from samclr.views.shares import with_shares

WARM_UP_STEPS, TRIAL_STEPS = 1, 3
CPU_TRIAL_IMAGES = 16  # time and memory of a larger batch are taken in proportion
SLOWER = 1.5  # than the slowest trial step: crops, other work on the machine
LOGGED_STEPS = 200
BYTES_A_PARAMETER = 12  # the weight and two optimiser moments at most, float32


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds a step, likely the least and the most; what is known of memory.

    Attributes:
        memory_bytes: of the device, or of the process on a CPU, in a step; None where it was not measured.
        parameters: of the method; None likewise.
    """

    least_s: float
    most_s: float
    memory_bytes: int | None = None
    parameters: int | None = None

    @property
    def step_s(self) -> float:
        """Between the two."""
        return (self.least_s + self.most_s) / 2


def measure_pace(fabric: Fabric, config: PretrainConfig) -> Pace:
    """Try the method on random pixels, on every rank its share of the batch; the weights are thrown away.

    torch.compile is left out; a CPU tries CPU_TRIAL_IMAGES at most.
    """
    share = max(config.optim.global_batch_size // fabric.world_size, 1)
    images = share if fabric.device.type != "cpu" else min(share, CPU_TRIAL_IMAGES)
    before = psutil.Process().memory_info().rss
    method = create_method(config, 1)
    parameters = count_parameters(method)
    resident: list[int] = []  # with all activations, on a CPU
    head = method.online_encoder.head  # called once the backbone is through, by whichever of its passes
    head.register_forward_pre_hook(lambda *_: resident.append(psutil.Process().memory_info().rss))
    optimizer = create_optimizer(method, config.optim)
    method, optimizer = set_up(fabric, method, optimizer, replace(config.runtime, compile=False))
    planner = _planner(config, images)
    seconds = []
    for step in range(WARM_UP_STEPS + TRIAL_STEPS):
        plan = with_shares(planner.plan(step), None)
        pixels = _random_pixels(plan)
        start = time.perf_counter()
        output = backward(fabric, method, make_batch(plan, pixels, fabric.device), config.runtime.micro_batch_size)
        optimizer.step()
        optimizer.zero_grad()
        method.module.after_step(step, output.pending)
        float(output.loss.detach())
        seconds.append(time.perf_counter() - start)
    scale = share / images
    if fabric.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(fabric.device)
    else:
        kept = parameters * BYTES_A_PARAMETER
        rows = (images * config.views.regions_per_image, share * config.views.regions_per_image)
        tried, whole = (min(number, config.runtime.micro_batch_size or number) for number in rows)
        memory = int(before + kept + max(max(resident) - before - kept, 0) * whole / tried)
    del method, optimizer, output
    gc.collect()
    if fabric.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(fabric.device)
    trial = np.array(seconds[WARM_UP_STEPS:]) * scale
    return Pace(
        least_s=float(trial.min()), most_s=float(trial.max()) * SLOWER, memory_bytes=memory, parameters=parameters
    )


def random_batch(config: PretrainConfig, images: int, device: torch.device) -> ViewBatch:
    """Views of so many images of random pixels, as a step has them."""
    plan = with_shares(_planner(config, images).plan(0), None)
    return make_batch(plan, _random_pixels(plan), device)


def _planner(config: PretrainConfig, images: int) -> ViewPlanner:
    return ViewPlanner(
        image_hw=np.full((images, 2), config.group.size_px),
        regions=None,
        seed=config.seed,
        images_per_step=images,
        views=config.views,
        groups=config.groups,
        augment=config.augment,
        map_sides=map_sides(config),
    )


def _random_pixels(plan: ViewPlan) -> list[torch.Tensor]:
    return [
        torch.randint(0, 256, (*group.boxes_xyxy.shape[:2], 3, group.size_px, group.size_px), dtype=torch.uint8)
        for group in plan.groups
    ]


def logged_pace(config: PretrainConfig, run: Path) -> Pace | None:
    """The pace of the run's last steps, from the tenth to the ninetieth of a hundred; None if it has hardly begun."""
    rates = [row["views_per_s"] for row in read_metrics(run)[-LOGGED_STEPS:] if row.get("views_per_s")]
    if len(rates) < 2 * TRIAL_STEPS:
        return None
    seconds = config.views_per_step() / np.array(rates)
    least, most = np.quantile(seconds, (0.1, 0.9))
    return Pace(least_s=float(least), most_s=float(most))

"""Where the time of a training step goes, and where it would go without what this project does about it.

    OMP_NUM_THREADS=1 python benchmarks/profile_step.py [--px 64] [--batch 64] [--backbone resnet18] [--steps 6]

One thread, nothing in the background: milliseconds of each part of a SimCLR step on generated 2048x1024 scenes, median
over steps. `before` reads the files with Pillow, augments by batched torch transforms, and lays weights out as torch
makes them; `now` crops from the bank, by the compiled kernels, with weights channels last. In a run the first three
parts are done beside the step, by other threads.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from training import Training, config_for, packed
from views import planner_for

from samclr.bank.bank import SceneBank
from samclr.views.augment import augment, augment_batched
from samclr.views.batch import ViewBatch, ViewGroupBatch
from samclr.views.crop import ViewCropper
from samclr.views.plan import ViewPlan

PARTS = ("plan", "crop", "augment", "forward and loss", "backward", "optimiser")


def crop_from_files(folder: Path, plan: ViewPlan, px: int) -> torch.Tensor:
    """The plan's boxes by Pillow's crop and antialiased resize; every image is opened once a step."""
    files, (group,) = sorted(folder.iterdir()), plan.groups
    views = []
    for image, boxes in zip(plan.image_index, group.boxes_xyxy, strict=True):
        with Image.open(files[image]) as opened:
            decoded = opened.convert("RGB")
        for box in boxes:
            cut = decoded.crop(tuple(int(side) for side in box)).resize((px, px), Image.Resampling.BILINEAR)
            views.append(np.asarray(cut).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(views)).unflatten(0, group.boxes_xyxy.shape[:2])


class Watch:
    """Milliseconds by name, a list of each."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(list)

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """Do the work and note how long it took."""
        start = time.perf_counter()
        result = work()
        self.spent[name].append((time.perf_counter() - start) * 1e3)
        return result


def profile(folder: Path, bank: SceneBank, arguments: argparse.Namespace, now: bool) -> dict[str, float]:
    """The median of each part."""
    config = config_for(arguments.px, arguments.batch, arguments.backbone, "float32", "cpu", "image")
    training, watch = Training(config), Watch()
    if not now:
        training.method.to(memory_format=torch.contiguous_format)
    planner, cropper = planner_for(bank, arguments.px, "image", images=arguments.batch), ViewCropper(bank)
    way = augment if now else augment_batched
    for step in range(arguments.steps + 1):
        plan = watch("plan", lambda step=step: planner.plan(step))
        (group,) = plan.groups

        def crop(plan: ViewPlan = plan) -> torch.Tensor:
            if not now:
                return crop_from_files(folder / "scenes", plan, arguments.px)
            return torch.from_numpy(cropper.crop(plan.image_index, plan.groups[0].boxes_xyxy, arguments.px))

        crops = watch("crop", crop)
        pixels = watch("augment", lambda crops=crops, group=group: way(crops, group.augment))
        views = ViewGroupBatch(role="global", pixels=pixels, boxes_xyxy=torch.from_numpy(group.boxes_xyxy))
        batch = ViewBatch(
            step=step,
            groups=(views,),
            image_index=torch.from_numpy(plan.image_index),
            region_index=torch.from_numpy(plan.region_index),
        )
        training.optimizer.zero_grad()
        output = watch("forward and loss", lambda batch=batch: training.method.module.loss(batch))
        watch("backward", output.loss.backward)
        watch("optimiser", training.optimizer.step)
        training.method.module.after_step(step, output.pending)
    return {name: median(watch.spent[name][1:]) for name in PARTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        bank = packed(Path(name), 1)
        before, after = (profile(Path(name), bank, arguments, now) for now in (False, True))
    totals = sum(before.values()), sum(after.values())
    print(f"{arguments.backbone}, {arguments.px} px, {arguments.batch} images of two views; ms")
    print("part               before  share      now  share")
    for part in PARTS:
        print(
            f"{part:16} {before[part]:8.1f} {before[part] / totals[0]:6.1%} {after[part]:8.1f} "
            f"{after[part] / totals[1]:6.1%}"
        )
    print(f"{'all':16} {totals[0]:8.1f} {'':6} {totals[1]:8.1f}")


if __name__ == "__main__":
    main()

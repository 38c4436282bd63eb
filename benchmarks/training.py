"""Training views a second end to end, against the same steps fed by one batch that stays in memory (the limit).

    OMP_NUM_THREADS=1 python benchmarks/training.py [--px 64] [--batch 64] [--backbone resnet18] [--steps 8]
        [--precision float32] [--device cpu|cuda] [--workers 1]

Generated 2048x1024 PNG scenes (benchmarks/views.py), SimCLR with the image and the region strategy, whose cost against
each other is the second question, and DetCon, whose views carry regions. `waiting` is the share of the time in which
the step waits for its views; the rest of what is lost goes to cropping beside the step (on a CPU both want the same
cores) and to augmenting.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from views import KINDS, random_regions, write_scenes

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.config.pretrain import ModelConfig, OptimConfig, PretrainConfig, RuntimeConfig
from samclr.config.recipes import RECIPES
from samclr.datasets.sources import list_scenes
from samclr.methods.create import create_method
from samclr.scenes.fill import FillOptions
from samclr.training.devices import create_fabric, set_up
from samclr.training.micro_batches import backward
from samclr.training.optim import create_optimizer
from samclr.views.batch import ViewBatch
from samclr.views.data import map_sides
from samclr.views.loader import ViewLoader
from samclr.views.make_batch import make_batch
from samclr.views.placement import open_cropper
from samclr.views.plan import ViewPlanner

WARM_UP = 3


def config_for(
    px: int, batch: int, backbone: str, precision: str, device: str, strategy: str = "image", bank_on: str = "auto"
) -> PretrainConfig:
    """SimCLR with one strategy, or DetCon (carried); the stem is that of small views where the backbone has one."""
    carries = strategy == "carried"
    recipe = RECIPES["detcon" if carries else "simclr"].config
    stem = "conv3x3-stride2" if backbone.startswith("resnet") else "standard"
    return replace(
        recipe,
        views=recipe.views if carries else replace(recipe.views, strategy=strategy),
        model=ModelConfig(backbone=backbone, stem=stem),
        group=replace(recipe.group, size_px=px),
        optim=OptimConfig(global_batch_size=batch),
        runtime=RuntimeConfig(precision=precision, device=device, bank_on=bank_on),
    )


class Training:
    """A method and its optimiser on their device."""

    def __init__(self, config: PretrainConfig):
        torch.manual_seed(0)
        self.config, self.fabric = config, create_fabric(config)
        method = create_method(config, 1000)
        optimizer = create_optimizer(method, config.optim)
        self.method, self.optimizer = set_up(self.fabric, method, optimizer, config.runtime)

    def views_per_s(self, batches: Iterable[ViewBatch], num_steps: int) -> float:
        """Of `num_steps` steps, after a few to warm up."""
        start = 0.0
        for number, batch in enumerate(batches):
            if number == WARM_UP:
                self._finish()
                start = time.perf_counter()
            if number == WARM_UP + num_steps:
                break
            self.optimizer.zero_grad()
            output = backward(self.fabric, self.method, batch, None)
            self.optimizer.step()
            self.method.module.after_step(batch.step, output.pending)
        self._finish()
        return num_steps * self.config.views_per_step() / (time.perf_counter() - start)

    def _finish(self) -> None:
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()


def loader_of(bank: SceneBank, config: PretrainConfig, fabric: Fabric, workers: int, num_steps: int) -> ViewLoader:
    """As pretrain makes it."""
    sizes = bank.native_hw
    planner = ViewPlanner(
        image_hw=sizes,
        regions=random_regions(sizes) if config.views.reads_regions else None,
        seed=0,
        images_per_step=config.optim.global_batch_size,
        views=config.views,
        groups=config.groups,
        augment=config.augment,
        map_sides=map_sides(config),
    )
    cropper, _ = open_cropper(bank, fabric.device, config.runtime.bank_on, workers)
    return ViewLoader(planner, cropper, range(num_steps), pin_memory=fabric.device.type == "cuda")


def real_batches(loader: ViewLoader, device: torch.device, waited: list[float]) -> Iterator[ViewBatch]:
    """Batches as the loop makes them; seconds of waiting for each are added to `waited`."""
    for plan, crops in loader:
        waited.append(loader.last_wait_s)
        yield make_batch(plan, crops, device)


def measure(bank: SceneBank, config: PretrainConfig, workers: int, num_steps: int) -> dict[str, Any]:
    """Views a second fed by the bank, and by one batch again and again."""
    training, total = Training(config), WARM_UP + num_steps + 1
    waited: list[float] = []
    loader = loader_of(bank, config, training.fabric, workers, total)
    batches = real_batches(loader, training.fabric.device, waited)
    fed = training.views_per_s(batches, num_steps)
    (first,) = real_batches(loader_of(bank, config, training.fabric, workers, 1), training.fabric.device, [])
    # each with its own number: step 0 measures the embeddings, which costs more than the step
    limit = training.views_per_s((replace(first, step=number) for number in range(total)), num_steps)
    seconds = num_steps * config.views_per_step() / fed
    waiting = sum(waited[WARM_UP : WARM_UP + num_steps]) / seconds
    return {"views_per_s": fed, "limit": limit, "of_limit": fed / limit, "waiting": waiting}


def packed(folder: Path, workers: int, copies: int = 1) -> SceneBank:
    """A bank of generated scenes, each in so many copies."""
    write_scenes(KINDS["png"], folder / "scenes")
    for file in list((folder / "scenes").iterdir()):
        for number in range(1, copies):
            shutil.copy(file, file.with_stem(f"{file.stem}-{number}"))
    refs = list_scenes([folder / "scenes"])
    pack_scenes(refs, folder / "bank", None, FillOptions(num_workers=workers))
    return SceneBank(folder / "bank", refs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    settings = arguments.px, arguments.batch, arguments.backbone, arguments.precision, arguments.device
    with tempfile.TemporaryDirectory() as name:
        bank = packed(Path(name), arguments.workers)
        print(f"{arguments.backbone}, {arguments.px} px, batch {arguments.batch}, {arguments.precision}")
        print("strategy   views/s  in memory  of it  waiting")
        for strategy in ("image", "region", "carried"):
            found = measure(bank, config_for(*settings, strategy), arguments.workers, arguments.steps)
            print(
                f"{strategy:8} {found['views_per_s']:9.1f} {found['limit']:10.1f} {found['of_limit']:6.1%} "
                f"{found['waiting']:8.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()

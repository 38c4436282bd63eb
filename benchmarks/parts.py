"""Parts of a training step, each beside what it replaced: augmentation, memory layout, losses' memory.

    OMP_NUM_THREADS=1 python benchmarks/parts.py

Microseconds of augmentation a view on one core, compiled kernel and batched transforms (256 views of SimCLR's draws);
views a second of a forward and backward pass with weights as torch makes them and channels last; peak memory of each
loss, backward and masks included, over the bytes of its logits.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from samclr.config.pretrain import AugmentConfig, ModelConfig, ViewGroup, ViewsConfig
from samclr.models.backbone import create_backbone
from samclr.views.augment import augment_batched, augment_on_cpu
from samclr.views.plan import ViewPlanner

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

VIEWS, REPEATS = 256, 4
BACKBONES = (
    ("resnet18", "conv3x3-stride2", 64),
    ("resnet18", "conv3x3-stride2", 32),
    ("small-cnn", "standard", 32),
    ("vit_tiny_patch16_224", "standard", 64),
)


def seconds(function: Callable[[], object], repeats: int = REPEATS) -> float:
    """Of one call, after one to warm up."""
    function()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def augmentation() -> None:
    print("px     batched us  compiled us  times")
    for px in (64, 128):
        planner = ViewPlanner(
            image_hw=np.full((1000, 2), 400), regions=None, seed=0, images_per_step=VIEWS // 2,
            views=ViewsConfig(strategy="image"), groups=(ViewGroup(size_px=px),), augment=AugmentConfig(),
        )  # fmt: skip
        drawn = planner.plan(0).groups[0].augment
        pixels = torch.randint(0, 256, (VIEWS // 2, 2, 3, px, px), dtype=torch.uint8)
        batched, compiled = (
            seconds(lambda way=way, pixels=pixels, drawn=drawn: way(pixels, drawn)) / VIEWS * 1e6
            for way in (augment_batched, augment_on_cpu)
        )
        print(f"{px:3} {batched:13.1f} {compiled:12.1f} {batched / compiled:6.1f}", flush=True)


def layouts() -> None:
    print("backbone               px  contiguous views/s  channels last  times")
    for name, stem, px in BACKBONES:
        found = []
        for layout in (torch.contiguous_format, torch.channels_last):
            backbone = create_backbone(ModelConfig(backbone=name, stem=stem)).to(memory_format=layout)  # type: ignore[call-overload]
            pixels = torch.randn(VIEWS, 3, px, px)

            def step(backbone: torch.nn.Module = backbone, pixels: torch.Tensor = pixels) -> None:
                backbone.zero_grad()
                backbone(pixels).square().mean().backward()

            found.append(VIEWS / seconds(step, 3))
        print(f"{name:21} {px:3} {found[0]:19.0f} {found[1]:14.0f} {found[1] / found[0]:6.2f}", flush=True)


def losses() -> None:
    from support.losses import cases
    from support.peak_memory import peak_bytes

    print("loss                logits  peak over their bytes")
    for loss, embeddings, rest, num_logits in cases(256):
        leaf = embeddings.clone().requires_grad_()

        def step(loss=loss, leaf=leaf, rest=rest) -> None:  # type: ignore[no-untyped-def]
            leaf.grad = None
            loss(leaf, *rest).backward()

        step()
        print(f"{loss.__name__:17} {num_logits:9,} {peak_bytes(step) / (4 * num_logits):6.2f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    augmentation()
    layouts()
    losses()

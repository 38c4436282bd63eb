"""What several tests need: small scenes, small settings, and the command as a user types it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from samclr.config import (
    DataConfig,
    FilterConfig,
    KnnConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    RuntimeConfig,
    ViewGroup,
)
from samclr.recipes import RECIPES


def box_scene(seed: int, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and label map of a scene with three coloured boxes on grey."""
    random = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 90, np.uint8)
    labels = np.zeros((height, width), np.uint8)
    for number in range(3):
        top, left = random.integers(0, height - 14), number * 20 + random.integers(0, 4)
        pixels[top : top + 14, left : left + 14] = random.integers(0, 256, 3)
        labels[top : top + 14, left : left + 14] = number + 1
    return pixels, labels


def write_scenes(folder: Path, count: int, labels: Path | None = None) -> Path:
    """Write box scenes into two sub-folders, and their label maps if wanted."""
    for number in range(count):
        pixels, label_map = box_scene(number)
        name = f"{'ab'[number % 2]}/{number:03d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
        if labels is not None:
            (labels / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(label_map).save(labels / name)
    return folder


def write_labelled(folder: Path, per_class: int = 6) -> Path:
    """A labelled image folder of two classes, dark and light."""
    for split in ("train", "test"):
        for name, level in (("dark", 40), ("light", 200)):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(per_class):
                random = np.random.default_rng(number + (split == "test") * 100)
                pixels = (level + random.integers(-30, 30, (20, 24, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def write_labelled_scenes(folder: Path, count: int = 6) -> Path:
    """Scenes in CamVid's layout: four fields of three classes, each with a colour, and void (11) along the top."""
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])
    for split in ("train", "val", "test"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for number in range(count):
            random = np.random.default_rng([number, split == "test"])
            labels = np.repeat(np.repeat(random.integers(0, 3, (2, 2)), 24, 0), 32, 1).astype(np.uint8)
            pixels = colours[labels] + random.integers(-30, 30, (48, 64, 3))
            labels[:6] = 11
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / split / f"{number}.png")
            Image.fromarray(labels).save(folder / "labels" / split / f"{number}.png")
    return folder


def small_config(scenes: Path, regions: Path | None = None, recipe: str = "samclr", steps: int = 4) -> PretrainConfig:
    """A run of seconds: small-cnn, 24 px, batch 8, one thread."""
    return replace(
        RECIPES[recipe].config,
        data=DataConfig(scenes=(scenes,), regions=regions, bank=scenes.parent / "bank"),
        filter=FilterConfig(min_area_px=20),
        group=ViewGroup(size_px=24),
        local=replace(RECIPES[recipe].config.local, local_size_px=12),
        model=ModelConfig(backbone="small-cnn", projector_out=16),
        optim=OptimConfig(global_batch_size=8, steps=steps, lr=0.05),
        knn=KnnConfig(image_px=24),
        runtime=RuntimeConfig(accelerator="cpu", num_threads=1, num_workers=1),
    )


def flip_a_bit(path: Path, random: np.random.Generator, before: bytes | None = None) -> None:
    """Damage a file, or what it was `before`, at a random place."""
    content = bytearray(path.read_bytes() if before is None else before)
    content[random.integers(len(content))] ^= 1 << random.integers(8)
    path.write_bytes(content)


SMALL_FLAGS = (
    *("--backbone", "small-cnn", "--projector-out", "16", "--size-px", "24", "--global-batch-size", "8"),
    *("--min-area-px", "20", "--image-px", "24", "--accelerator", "cpu", "--num-threads", "1", "--num-workers", "1"),
)


def samclr(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=timeout, env=dict(os.environ))


def command(*arguments: object) -> list[str]:
    """The command line of `samclr ...` in this environment."""
    return [sys.executable, "-m", "samclr.cli", *map(str, arguments)]

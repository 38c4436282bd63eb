"""Small scenes and labelled images."""

from pathlib import Path

import numpy as np
from PIL import Image


def box_scene(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Three coloured boxes on grey."""
    random = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 90, np.uint8)
    for number in range(3):
        top, left = random.integers(0, height - 14), number * 20 + random.integers(0, 4)
        pixels[top : top + 14, left : left + 14] = random.integers(0, 256, 3)
    return pixels


def write_scenes(folder: Path, count: int) -> None:
    """`count` scenes in two sub-folders."""
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(box_scene(number)).save(path)


def write_labelled(folder: Path, per_class: int = 6) -> None:
    """Two classes, dark and light, with a training and a test split."""
    for split in ("train", "test"):
        for name, level in (("dark", 40), ("light", 200)):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(per_class):
                random = np.random.default_rng(number + (split == "test") * 100)
                pixels = (level + random.integers(-30, 30, (20, 24, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")

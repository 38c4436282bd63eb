"""Small scenes and labelled sets."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


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


SHAPES = ("background", "disc", "box")


def write_shapes(folder: Path, num_train: int = 4, num_test: int = 3) -> Path:
    """Discs and boxes with a void outline on a background, in a layout of one's own, images of two sizes."""
    folder.mkdir()
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in SHAPES))
    colours = np.array([[90, 100, 110], [210, 60, 60], [60, 90, 210]])
    for split, count in (("train", num_train), ("test", num_test)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            random = np.random.default_rng([number, split == "test"])
            height, width = (61, 83) if number % 2 else (76, 58)
            labels = Image.new("L", (width, height), 0)
            draw = ImageDraw.Draw(labels)
            for shape in (1, 2, 1, 2):
                x, y, side = (int(random.integers(*ends)) for ends in ((0, width - 20), (0, height - 20), (15, 30)))
                (draw.ellipse if shape == 1 else draw.rectangle)((x, y, x + side, y + side), fill=shape, outline=255)
            shown = np.asarray(labels)
            pixels = colours[np.where(shown == 255, 0, shown)] + random.normal(0, 25, (height, width, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / split / f"{number}.png")
            labels.save(folder / "labels" / split / f"{number}.png")
    return folder

"""Generated scenes for the examples, so that each runs by itself, without a network. Yours are a folder of photos."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import samclr

FOLDER = Path("runs/examples")
SMALL = samclr.FilterConfig(min_area_px=60)  # these scenes are small; the default, 1000 px, suits photos


def scenes_and_regions(count: int = 32) -> tuple[Path, Path]:
    """A folder of scenes with a disc, a box and a triangle each, and a store of their regions, made once."""
    scenes, regions = FOLDER / "scenes", FOLDER / "scenes.regions"
    scenes.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if not (scenes / f"{number:03d}.png").exists():
            draw_scene(number).save(scenes / f"{number:03d}.png")
    samclr.segment(scenes, out=regions, segmenter="felzenszwalb", workers=1, min_size=40)
    return scenes, regions


def draw_scene(number: int, side_px: int = 96) -> Image.Image:
    """Three shapes of random colours and places on a random background."""
    random = np.random.default_rng(number)
    image = Image.new("RGB", (side_px, side_px), tuple(random.integers(0, 90, 3).tolist()))
    for place, kind in enumerate(("disc", "box", "triangle")):
        draw_shape(image, kind, random, left=4 + 30 * place)
    return image


def draw_shape(image: Image.Image, kind: str, random: np.random.Generator, left: int = 4) -> None:
    """One shape of 26 px in a random colour."""
    draw, colour = ImageDraw.Draw(image), tuple(random.integers(100, 256, 3).tolist())
    top = int(random.integers(4, image.height - 30))
    if kind == "disc":
        draw.ellipse((left, top, left + 26, top + 26), fill=colour)
    elif kind == "box":
        draw.rectangle((left, top, left + 26, top + 26), fill=colour)
    else:
        draw.polygon(((left, top + 26), (left + 13, top), (left + 26, top + 26)), fill=colour)


def num_steps(usual: int) -> int:
    """Steps to train for: the first word of the command line, else the usual number."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else usual

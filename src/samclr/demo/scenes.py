"""The demo's scenes: real handwritten digits (scikit-learn's load_digits) on smooth clutter, with label maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image


@dataclass(frozen=True, kw_only=True)
class SceneStyle:
    """What a scene holds.

    Attributes:
        scene_px: its side.
        num_digits: digits in it; they do not overlap.
        digit_px: smallest and largest side of a digit's square.
        coloured: each digit has a hue of its own; else all are light grey.
    """

    scene_px: int = 96
    num_digits: int = 5
    digit_px: tuple[int, int] = (20, 20)
    coloured: bool = False


PLAIN = SceneStyle()  # what the figures of sam-digits are for
VARIED = SceneStyle(digit_px=(16, 28), coloured=True)  # the demo's


def compose_scene(
    strokes: Sequence[Float[np.ndarray, "8 8"]],
    random: np.random.Generator,
    style: SceneStyle = PLAIN,
    digits: Sequence[int] | None = None,
) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
    """One scene and its label map: 0 for clutter, k for the ink of the k-th digit.

    digits: places in `strokes` of the digits to draw, one for each of the style's; by default they are drawn at random.
    """
    canvas = clutter(style.scene_px, random)
    labels = np.zeros((style.scene_px, style.scene_px), np.uint8)
    for number, (top, left, side) in enumerate(_squares(style, random), start=1):
        chosen = int(random.integers(len(strokes))) if digits is None else digits[number - 1]
        window = np.s_[top : top + side, left : left + side]
        ink = digit_ink(strokes[chosen], side)
        canvas[window] = (1 - ink[..., None]) * canvas[window] + ink[..., None] * _tone(style, random)
        labels[window][ink > 0.5] = number
    return np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8), labels


def _squares(style: SceneStyle, random: np.random.Generator) -> list[tuple[int, int, int]]:
    """(top, left, side) of squares that do not overlap."""
    least, most = style.digit_px
    squares: list[tuple[int, int, int]] = []
    while len(squares) < style.num_digits:
        side = least if least == most else int(random.integers(least, most + 1))
        top, left = (int(v) for v in random.integers(0, style.scene_px - side + 1, 2))
        if all(top + side <= t or t + s <= top or left + side <= x or x + s <= left for t, x, s in squares):
            squares.append((top, left, side))
        elif random.random() < 0.02:  # a layout without room for the rest: begin again
            squares.clear()
    return squares


def _tone(style: SceneStyle, random: np.random.Generator) -> float | Float[np.ndarray, "3"]:
    if not style.coloured:
        return random.uniform(0.75, 1.0)
    tone = random.uniform(0.3, 1.0, 3)
    tone[random.integers(3)] = 1.0
    return tone


def clutter(side_px: int, random: np.random.Generator) -> Float[np.ndarray, "s s 3"]:
    """A smooth pattern of a few colours, [h w 3] from 0 to 1: what image views learn to tell scenes apart by."""
    coarse = 0.3 + random.uniform(-0.08, 0.08, (3, 3, 1)) + random.uniform(-0.25, 0.25, (3, 3, 3))
    channels = [
        np.asarray(
            Image.fromarray(coarse[..., c].astype(np.float32)).resize((side_px, side_px), Image.Resampling.BICUBIC)
        )
        for c in range(3)
    ]
    return np.stack(channels, -1).astype(np.float64)


def digit_ink(strokes: Float[np.ndarray, "8 8"], side_px: int) -> Float[np.ndarray, "p p"]:
    """A digit's strokes at another size, from 0 (clutter shows) to 1 (ink alone)."""
    image = Image.fromarray(strokes.astype(np.float32))
    smooth = np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC))
    return np.clip((smooth - 0.15) / 0.6, 0, 1).astype(np.float64)

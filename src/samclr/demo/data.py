"""The demo's files: scenes to train on, and labelled digits as they stand in other scenes.

The evaluation is fixed here, and was committed before anything was trained for it:

- No digit of it stands in a training scene: 797 of load_digits' 1,797 digits do, the other 1,000 do not. (sam-digits,
  which segments the training scenes, has seen none of the 1,000 either.)
- Each of the 1,000 stands once, in one of 200 held-out scenes of the training scenes' kind: 600 digits of 120 scenes
  are the training split, 400 digits of 80 others the test split.
- The crop of a digit is the square about the centre of its ground-truth box whose side is the box's longer side times
  1.5, moved into the scene where it would leave it. Nothing else is touched: clutter, colour, neighbours and the
  number of pixels are as they come.
- Backbones are frozen, see a crop at 32 px, and are measured by kNN and the linear probe as `samclr evaluate` has them
  by default.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from sklearn.datasets import load_digits

from samclr.demo.scenes import VARIED, compose_scene
from samclr.draws import epoch_order
from samclr.errors import FilesError
from samclr.runs.directory import read_json, write_json
from samclr.storage.files import room_for

DATA_VERSION = 2
DATA_SEED = 0
NUM_IN_SCENES, NUM_TRAIN = 797, 600  # digits drawn into training scenes; of the rest those with labels to learn from
CONTEXT = 1.5
VIEW_PX = 32
HELD_OUT = 1_000_000  # numbers of held-out scenes begin here, so that none is a training scene
CLASSES_FILE = "classes.json"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A held-out scene. labels: k where the ink of its k-th digit is, else 0; digits: their places in the demo's order;
    classes: what they are."""

    split: str
    image: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]
    digits: range
    classes: tuple[int, ...]


def make_data(data: Path, num_scenes: int) -> None:
    """Write scenes/, labels/, classes.json and digits/{train,test}/CLASS/, the same bytes everywhere.

    classes.json has the classes of a scene's digits, the k-th of the digit whose label is k, by the scene's name.
    """
    marker = data / "made.json"
    made = {"version": DATA_VERSION, "num_scenes": num_scenes}
    with suppress(FilesError):  # of a damaged marker: all is written again
        if read_json(marker, {}) == made:
            return
    strokes, classes = shuffled_digits()
    for name in ("scenes", "labels"):
        (data / name).mkdir(parents=True, exist_ok=True)
    with room_for(data):
        _write_scenes(data, num_scenes, strokes, classes)
        _write_digits(data / "digits", strokes, classes)
    write_json(marker, made)


def _write_scenes(data: Path, num_scenes: int, strokes: list[np.ndarray], classes: np.ndarray) -> None:
    found = {}
    for number in range(num_scenes):
        random = np.random.Generator(np.random.PCG64([DATA_SEED, number]))
        chosen = random.integers(0, NUM_IN_SCENES, VARIED.num_digits)
        scene, labels = compose_scene(strokes, random, VARIED, [int(one) for one in chosen])
        name = f"{number:05d}.png"
        Image.fromarray(scene).save(data / "scenes" / name)
        Image.fromarray(labels).save(data / "labels" / name)
        found[name] = [int(one) for one in classes[chosen]]
    write_json(data / CLASSES_FILE, found)


def _write_digits(out: Path, strokes: list[np.ndarray], classes: np.ndarray) -> None:
    for scene in held_out_scenes(strokes, classes):
        for number, digit in enumerate(scene.digits, start=1):
            folder = out / scene.split / str(classes[digit])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(crop_of(scene.image, scene.labels == number)).save(folder / f"{digit:04d}.png")


def held_out_scenes(strokes: list[np.ndarray], classes: np.ndarray) -> Iterator[HeldOut]:
    """The held-out scenes; strokes, classes: of `shuffled_digits`."""
    for first in range(NUM_IN_SCENES, len(strokes), VARIED.num_digits):
        random = np.random.Generator(np.random.PCG64([DATA_SEED, HELD_OUT + first]))
        digits = range(first, first + VARIED.num_digits)
        image, labels = compose_scene(strokes, random, VARIED, digits)
        yield HeldOut(
            split="train" if first < NUM_IN_SCENES + NUM_TRAIN else "test",
            image=image,
            labels=labels,
            digits=digits,
            classes=tuple(int(classes[digit]) for digit in digits),
        )


def shuffled_digits() -> tuple[list[np.ndarray], np.ndarray]:
    """Strokes and classes of load_digits' digits, in the demo's order."""
    digits = load_digits()
    order = epoch_order(DATA_SEED, 0, len(digits.images))
    return [digits.images[number] / 16.0 for number in order], digits.target[order]


def crop_of(scene: UInt8[np.ndarray, "h w 3"], ink: np.ndarray) -> UInt8[np.ndarray, "s s 3"]:
    """A digit as it stands in a scene, by the rule in the module's docstring; ink: its pixels [h w]."""
    x0, y0, x1, y1 = crop_square(box_of(ink), ink.shape)
    return scene[y0:y1, x0:x1]


def box_of(ink: np.ndarray) -> Int[np.ndarray, "4"]:
    """The ground-truth box_xyxy, half-open, about all pixels of a digit [h w]."""
    y, x = np.nonzero(ink)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


def crop_square(box_xyxy: Int[np.ndarray, "4"], image_hw: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The square that is cropped for a box, as box_xyxy."""
    size_wh = box_xyxy[2:] - box_xyxy[:2]
    side = min(round(CONTEXT * int(size_wh.max())), *image_hw)
    corner = (box_xyxy[:2] + box_xyxy[2:] - side) // 2
    left, top = (int(v) for v in np.clip(corner, 0, (image_hw[1] - side, image_hw[0] - side)))
    return left, top, left + side, top + side

"""Tiny sets of instances in COCO's layout: bright squares and discs on dim noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

CLASSES = {3: "square", 7: "disc"}  # ids with gaps, as COCO's


def write_instances(
    root: Path, train: int = 8, val: int = 4, px: int = 96, empty: bool = True, crowd: bool = True, seed: int = 0
) -> Path:
    """train/, val/ and annotations/: polygons for squares, run lengths for discs.

    empty: the first training image has no object; crowd: the second one, and the first for validation, have a crowd.
    """
    random = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        (root / split).mkdir(parents=True, exist_ok=True)
        (root / "annotations").mkdir(exist_ok=True)
        images, annotations = [], []
        for number in range(count):
            pixels = random.integers(0, 60, (px, px + 32, 3)).astype(np.uint8)
            found = [] if split == "train" and number == 0 and empty else _draw(pixels, random)
            if crowd and number == (1 if split == "train" else 0):
                found.append(_crowd(pixels))
            name = f"{split}_{number:03d}.png"
            Image.fromarray(pixels).save(root / split / name)
            images.append({"id": 100 + number, "file_name": name, "height": px, "width": px + 32})
            for one in found:
                annotations.append(one | {"id": len(annotations) + 1, "image_id": 100 + number})
        write_json(root, split, images, annotations)
    return root


def write_json(root: Path, split: str, images: list[Any], annotations: list[Any], classes: Any = CLASSES) -> None:
    categories = [{"id": key, "name": name, "supercategory": "shape"} for key, name in classes.items()]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def change_json(root: Path, split: str, change: Any) -> None:
    """Have `change` alter the parsed file in place."""
    path = root / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _draw(pixels: np.ndarray, random: np.random.Generator) -> list[dict[str, Any]]:
    height, width = pixels.shape[:2]
    found = []
    for left in (2, width // 2 + 2):  # one on each side, so that they never touch
        side = int(random.integers(height // 4, height // 3 + 8))
        x, y = left + int(random.integers(0, width // 2 - side - 4)), int(random.integers(2, height - side - 2))
        if random.random() < 0.5:
            pixels[y : y + side, x : x + side] = (230, 40, 40)
            outline = [x, y, x + side, y, x + side, y + side, x, y + side]
            found.append(_annotation(3, [x, y, side, side], [outline], side * side))
        else:
            rows, columns = np.mgrid[:height, :width]
            disc = (rows - y - side / 2 + 0.5) ** 2 + (columns - x - side / 2 + 0.5) ** 2 <= (side / 2) ** 2
            pixels[disc] = (40, 220, 230)
            rle = coco_mask.encode(np.asfortranarray(disc.astype(np.uint8)))
            box = coco_mask.toBbox(rle).tolist()
            coded = {"size": [height, width], "counts": rle["counts"].decode()}
            found.append(_annotation(7, box, coded, int(disc.sum())))
    return found


def _crowd(pixels: np.ndarray) -> dict[str, Any]:
    """Uncompressed run lengths, as COCO's crowds: the lowest rows."""
    height, width = pixels.shape[:2]
    return _annotation(
        3, [0, height - 2, width, 2], {"size": [height, width], "counts": [height - 2, 2] * width}, 2 * width, 1
    )


def _annotation(category: int, box: list[float], segmentation: Any, area: float, crowd: int = 0) -> dict[str, Any]:
    return {
        "category_id": category, "bbox": box, "segmentation": segmentation, "area": area, "iscrowd": crowd,
    }  # fmt: skip

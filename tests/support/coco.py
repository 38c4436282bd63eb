"""COCO 2017 in its true layout, a few images a split: instances, panoptic segments, maps of things and stuff."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from support.scenes import box_scene

COUNTS = {"train2017": 3, "val2017": 2, "unlabeled2017": 2, "test2017": 1}
THING_IDS = (1, 18, 90)  # person, dog, toothbrush
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]
PALETTE = [channel for value in range(256) for channel in (value * 37 % 256, value * 91 % 256, value * 53 % 256)]
SKY, CROWD_ID = 157, 900_000_000_001  # sky-other


def write_coco(
    root: Path, images: str = ".", panoptic: bool = True, stuff: bool = True, pixelmaps: bool = False
) -> Path:
    """Images named by their number, as COCO's; those of unlabeled2017 and test2017 have no annotations."""
    for split, count in COUNTS.items():
        numbers = [100 * len(split) + number for number in range(count)]
        for number in numbers:
            save(root / images / split / f"{number:012d}.jpg", box_scene(number)[0])
        if split in ("train2017", "val2017"):
            write_instances(root, split, numbers)
            if panoptic:
                write_panoptic(root, split, numbers)
            if pixelmaps:
                for number in numbers:
                    name = f"annotations/stuff_{split}_pixelmaps/{number:012d}.png"
                    save(root / name, stuff_alone(box_scene(number)[1]), PALETTE)
            if stuff:
                for number in numbers:
                    fine = np.array([SKY, *THING_IDS], np.uint8)[box_scene(number)[1]] - 1
                    fine[:2] = 255
                    save(root / "stuffthingmaps" / split / f"{number:012d}.png", fine)
    return root


def stuff_alone(boxes: np.ndarray) -> np.ndarray:
    """As COCO's stuff task has its maps: ids of categories, 0 without a label, things merged into 183. Box 1 of a
    scene is a thing, box 2 a banner (92), box 3 wood (182)."""
    values = np.array([SKY, 183, 92, 182], np.uint8)[boxes]
    values[:2] = 0
    return values


def write_instances(root: Path, split: str, numbers: list[int]) -> None:
    """Two boxes as polygons, the third as a crowd's runs; the last image has no annotation."""
    images = [{"file_name": f"{k:012d}.jpg", "height": 48, "width": 64, "id": k, "license": 4} for k in numbers]
    annotations = [one for number in numbers[:-1] for one in annotations_of(number)]
    dump(root, f"instances_{split}.json", {"info": {"year": 2017}, "images": images, "licenses": [],
         "annotations": annotations, "categories": CATEGORIES})  # fmt: skip


def annotations_of(number: int) -> list[dict[str, Any]]:
    """Of one image: the boxes of its scene, with the keys in COCO's order."""
    boxes, found = box_scene(number)[1], []
    for box, category in enumerate(THING_IDS, 1):
        mask = boxes == box
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x0, y0, x1, y1 = (int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        crowd = box == 3
        runs: Any = {"counts": counts_of(mask), "size": list(mask.shape)}
        segmentation = runs if crowd else [[x0, y0, x1, y0, x1, y1, x0, y1]]
        found.append({"segmentation": segmentation, "area": float(mask.sum()), "iscrowd": int(crowd),
                      "image_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": category,
                      "id": CROWD_ID + number if crowd else 10 * number + box})  # fmt: skip
    return found


def counts_of(mask: np.ndarray) -> list[int]:
    """Uncompressed runs, column by column, from 0 on."""
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def write_panoptic(root: Path, split: str, numbers: list[int]) -> None:
    """Segments as colours, R + 256 G + 65536 B; a row of each image is void."""
    annotations = []
    for number in numbers:
        ids = np.array([7_000_000, 3, 300, 70_000])[box_scene(number)[1]]
        ids[:2] = 0
        save(root / "annotations" / f"panoptic_{split}" / f"{number:012d}.png", coloured(ids))
        segments = [
            {"id": int(k), "category_id": SKY if k == 7_000_000 else 1, "iscrowd": 0} for k in np.unique(ids)[1:]
        ]
        annotations.append({"segments_info": segments, "file_name": f"{number:012d}.png", "image_id": number})
    dump(root, f"panoptic_{split}.json", {"annotations": annotations, "categories": CATEGORIES})


def coloured(ids: np.ndarray) -> np.ndarray:
    """[h w 3] panoptic colours of ids [h w]."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, palette: list[int] | None = None) -> None:
    """An image file, in folders that are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image = Image.fromarray(pixels, "P")
        image.putpalette(palette)
    image.save(path)


def dump(root: Path, name: str, value: Any) -> None:
    """A JSON file in annotations/."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / name).write_text(json.dumps(value))


def polygon_mask(polygon: list[float]) -> np.ndarray:
    """[48 64] as pycocotools draws it."""
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 48, 64))).astype(bool)

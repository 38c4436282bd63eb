"""Small sets for every kind of protocol, made of the demo's digits: held-out scenes with their labels in each layout.

The scenes are of the kind that is trained on, and no digit of them stands there (`samclr.demo.data`): 600 digits in 120
training scenes, 400 in 80 test scenes. scenes/ has a class for each pixel, several/ a labels.csv, instances/ COCO's
JSON.
"""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samclr.config.kinds import Kind
from samclr.demo.data import HeldOut, box_of, held_out_scenes, shuffled_digits
from samclr.runs.directory import read_json, write_json
from samclr.storage.files import room_for

CLASSES = ("background", *map(str, range(10)))
VERSION = 1
FOLDERS: dict[Kind, str] = {
    "dense": "scenes",
    "objects": "scenes",
    "multilabel": "several",
    "detection": "instances",
}


def make_sets(out: Path) -> dict[Kind, Path]:
    """Write the sets below `out`, unless they are there, and return the folder of each kind."""
    marker = out / "made.json"
    if read_json(marker, {}) != {"version": VERSION}:
        scenes = list(held_out_scenes(*shuffled_digits()))
        with room_for(out):
            _write_scenes(out / FOLDERS["dense"], scenes)
            _write_several(out / FOLDERS["multilabel"], scenes)
            _write_instances(out / FOLDERS["detection"], scenes)
        write_json(marker, {"version": VERSION})
    return {kind: out / folder for kind, folder in FOLDERS.items()}


def _write_scenes(out: Path, scenes: list[HeldOut]) -> None:
    for one in scenes:
        classes = np.array([0, *(1 + digit for digit in one.classes)], np.uint8)
        _save(one.image, out / "images" / one.split / _name(one))
        _save(classes[one.labels], out / "labels" / one.split / _name(one))
    (out / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


def _write_several(out: Path, scenes: list[HeldOut]) -> None:
    rows = []
    for one in scenes:
        _save(one.image, out / one.split / _name(one))
        rows.append([f"{one.split}/{_name(one)}", *(int(digit in one.classes) for digit in range(10))])
    with open(out / "labels.csv", "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows([["image", *CLASSES[1:]], *rows])


def _write_instances(out: Path, scenes: list[HeldOut]) -> None:
    categories = [{"id": digit + 1, "name": str(digit)} for digit in range(10)]
    for split, folder in (("train", "train"), ("test", "val")):
        some = [one for one in scenes if one.split == split]
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, one in enumerate(some, start=1):
            _save(one.image, out / folder / _name(one))
            height, width = one.labels.shape
            images.append({"id": number, "file_name": _name(one), "height": height, "width": width})
            for digit, mask in _inks(one):
                x0, y0, x1, y1 = (int(v) for v in box_of(mask))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": digit + 1,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": int(mask.sum()),
                        "iscrowd": 0,
                        "segmentation": {"size": [height, width], "counts": _run_lengths(mask)},
                    }
                )
        found = {"images": images, "annotations": annotations, "categories": categories}
        os.makedirs(out / "annotations", exist_ok=True)
        (out / "annotations" / f"instances_{folder}.json").write_text(json.dumps(found), encoding="utf-8")


def _name(scene: HeldOut) -> str:
    return f"{scene.digits[0]:04d}.png"


def _inks(scene: HeldOut) -> Iterator[tuple[int, np.ndarray]]:
    for number, digit in enumerate(scene.classes, start=1):
        yield digit, scene.labels == number


def _run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths: down the columns, zeros first."""
    flat = np.concatenate([[False], mask.T.reshape(-1), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(run) for run in np.diff([0, *edges, mask.size])]


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)

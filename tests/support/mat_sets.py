"""Tiny sets whose labels are MATLAB files, in the true layout: SBD, and Pascal Context as released."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from samclr.datasets.pascal_context import CLASSES
from support.scenes import box_scene

VALUES = np.array([0, 1, 15, 20], np.uint8)  # of the boxes of a scene: aeroplane, person, tvmonitor


def write_sbd(root: Path, stems: dict[str, list[str]]) -> Path:
    """benchmark_RELEASE/dataset with the lists that are given; number n of the images is box_scene(n). Returns it."""
    folder = root / "benchmark_RELEASE/dataset"
    for name in ("img", "cls", "inst"):
        (folder / name).mkdir(parents=True)
    for number, stem in enumerate(sorted({stem for names in stems.values() for stem in names})):
        pixels, boxes = box_scene(number)
        Image.fromarray(pixels).save(folder / f"img/{stem}.jpg", quality=95)
        classes = VALUES[boxes]
        save(folder / f"cls/{stem}.mat", GTcls=_struct(classes, CategoriesPresent=VALUES[1:, None]))
        save(folder / f"inst/{stem}.mat", GTinst=_struct(boxes, Categories=VALUES[1:, None]))
    for name, own in stems.items():
        (folder / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in own))
    return folder


def write_pascal_context(root: Path) -> Path:
    """VOCdevkit/VOC2010 with trainval/*.mat of 459 classes and lists of names: three images to train on, two to measure
    on. Boxes 1 and 2 of a scene are an accordion, which no list has, and a table; the third is a bedcloth. Returns it.
    """
    folder = root / "VOCdevkit/VOC2010"
    for name in ("JPEGImages", "trainval", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    names = [*context_names(), *(f"thing {number}" for number in range(459))][:459]
    (folder / "labels.txt").write_text("".join(f"{number}: {name}\n" for number, name in enumerate(names, 1)))
    listed = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
    known = [next((one for one, other in listed.items() if other == name), name) for name in context_names()[1:]]
    for count in (59, 33):
        rows = "".join(f"{number}: {name}\n" for number, name in enumerate(known[:count], 1))
        (folder / f"{count}_labels.txt").write_text(rows)
    values = np.array([459, *(1 + names.index(name) for name in ("accordion", "table", "bedclothes"))], np.uint16)
    for number in range(5):
        pixels, boxes = box_scene(number)
        Image.fromarray(pixels).save(folder / f"JPEGImages/2008_{number:06d}.jpg", quality=95)
        save(folder / f"trainval/2008_{number:06d}.mat", LabelMap=values[boxes])
    for split, numbers in (("train", range(3)), ("val", range(3, 5))):
        rows = "".join(f"2008_{number:06d}\n" for number in numbers)
        (folder / f"ImageSets/Main/{split}.txt").write_text(rows)
    return folder


def context_names() -> list[str]:
    """accordion, then the 59 in another order than ours: the release's list is of 459."""
    return ["accordion", *CLASSES[::-1]]


def save(path: Path, **variables: Any) -> None:
    """As MATLAB's save does without an option: compressed, version 7."""
    savemat(path, variables, do_compression=True)


def _struct(values: np.ndarray, **more: np.ndarray) -> dict[str, Any]:
    cells = np.empty((20, 1), object)
    for number in range(20):
        cells[number, 0] = csc_matrix(values.shape, dtype=bool)
    return {"Boundaries": cells, "Segmentation": values, **more}

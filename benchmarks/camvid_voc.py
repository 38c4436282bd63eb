"""CamVid's cars, pedestrians and bicyclists as a Pascal VOC 2007: images, XML and lists for detection.

    python benchmarks/camvid_voc.py CAMVID OUT

Connected parts of a class with at least 100 px are objects, those of fewer than 400 px difficult; what touches is one,
so this is for trying things out.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.measure import label, regionprops

CLASSES = {8: "car", 9: "person", 10: "bicycle"}
LEAST_PX, EASY_PX = 100, 400
LISTS = {"train": ("train", "trainval"), "val": ("val", "trainval"), "test": ("test",)}


def main(camvid: Path, out: Path) -> None:
    root = out / "VOCdevkit/VOC2007"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    listed: dict[str, list[str]] = {}
    for split, lists in LISTS.items():
        counts = np.zeros(2, int)
        for path in sorted((camvid / "images" / split).iterdir()):
            own = f"{sum(map(len, listed.values())) + 1:06d}"
            shutil.copy(path, root / f"JPEGImages/{own}.jpg")
            text, found = _annotation(np.asarray(Image.open(camvid / "labels" / split / f"{path.stem}.png")))
            (root / f"Annotations/{own}.xml").write_text(text)
            counts += found
            for name in lists:
                listed.setdefault(name, []).append(own)
        print(f"{split}: {counts[0]} objects, {counts[1]} of them difficult")
    for name, ids in listed.items():
        (root / f"ImageSets/Main/{name}.txt").write_text("".join(f"{own}\n" for own in ids))


def _annotation(values: np.ndarray) -> tuple[str, tuple[int, int]]:
    objects, difficult = [], 0
    for value, name in CLASSES.items():
        for part in regionprops(label(values == value, connectivity=2)):
            if part.area < LEAST_PX:
                continue
            y0, x0, y1, x1 = part.bbox
            hard = int(part.area < EASY_PX)
            difficult += hard
            box = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            objects.append(f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox>{box}</bndbox></object>\n")
    size = f"<size><width>{values.shape[1]}</width><height>{values.shape[0]}</height><depth>3</depth></size>"
    return f"<annotation>{size}\n{''.join(objects)}</annotation>\n", (len(objects), difficult)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

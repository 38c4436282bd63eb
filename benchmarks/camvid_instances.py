"""CamVid's cars, pedestrians and bicyclists as a set of instances in COCO's JSON.

    python benchmarks/camvid_instances.py CAMVID OUT

Connected parts of a class with at least 100 px are objects; what touches is one, so this is for trying things out.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from skimage.measure import label, regionprops

CLASSES = {8: "car", 9: "pedestrian", 10: "bicyclist"}
LEAST_PX = 100


def main(camvid: Path, out: Path) -> None:
    (out / "annotations").mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        images, annotations = [], []
        for path in sorted((camvid / "images" / split).iterdir()):
            values = np.asarray(Image.open(camvid / "labels" / split / f"{path.stem}.png"))
            images.append(
                {"id": len(images) + 1, "file_name": path.name, "height": values.shape[0], "width": values.shape[1]}
            )
            for value in CLASSES:
                parts = label(values == value, connectivity=2)
                for part in regionprops(parts):
                    if part.area >= LEAST_PX:
                        annotations.append(_annotation(parts == part.label, value, len(images), len(annotations) + 1))
        link = out / split
        if not link.exists():
            os.symlink((camvid / "images" / split).resolve(), link, target_is_directory=True)
        categories = [{"id": value, "name": name} for value, name in CLASSES.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (out / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        print(f"{split}: {len(images)} images, {len(annotations)} objects")


def _annotation(mask: np.ndarray, value: int, image: int, own: int) -> dict[str, object]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    coded = {"size": list(mask.shape), "counts": rle["counts"].decode()}
    box, area = coco_mask.toBbox(rle).tolist(), int(mask.sum())
    return {
        "id": own, "image_id": image, "category_id": value, "bbox": box, "area": area, "iscrowd": 0,
        "segmentation": coded,
    }  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

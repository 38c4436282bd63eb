"""Open Images in its true layout: tables that name the mask files of each image, at half the image's size."""

from pathlib import Path

import numpy as np
from PIL import Image

from support.scenes import box_scene

COUNTS = {"train": 3, "validation": 2, "test": 1}
HEAD = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"


def write_open_images(root: Path, masks: str = "{split}-masks", tables: str = "") -> Path:
    """Images of hexadecimal names; the last of a split has no mask. {first} in masks: a name's first character."""
    for split, count in COUNTS.items():
        lines = [HEAD]
        for number in range(count):
            image_id = f"{(0xC0FFEE + 7 * number) << 36:016x}"
            pixels, boxes = box_scene(number)
            (root / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / split / f"{image_id}.jpg")
            for box in range(1, 4) if number + 1 < count else ():
                name = f"{image_id}_m0{box}_{box:08x}.png"
                folder = root / masks.format(split=split, first=name[0])
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(half(boxes == box)).save(folder / name)
                lines.append(f"{name},{image_id},/m/0{box},{box:08x},0.1,0.2,0.1,0.2,0.9,0.5 0.5 1;0.1 0.1 0")
        table = root / tables.format(split=split) / f"{split}-annotations-object-segmentation.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join(lines) + "\n")
    return root


def half(mask: np.ndarray) -> np.ndarray:
    """[h/2 w/2] a mask of half the size, of one bit."""
    return mask[::2, ::2]

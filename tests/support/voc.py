"""Tiny Pascal VOCs in the true layout: palette PNGs, XML, lists, and a file of marks for each class and split."""

from pathlib import Path

import numpy as np
from PIL import Image

from samclr.datasets.voc import CLASSES

SHOWN = {1: (200, 40, 40), 2: (40, 200, 40), 15: (40, 40, 200)}  # aeroplane, bicycle, person: value and colour
PALETTE = [channel for value in range(256) for channel in (value * 37 % 256, value * 91 % 256, value * 53 % 256)]


def write_voc(root: Path, year: int = 2007, count: int = 8, augmented: bool = False) -> Path:
    """VOCdevkit/VOCYEAR with so many images a split, every second of them segmented; person is difficult in each
    fourth. 2012 has no test split; `augmented` adds SegmentationClassAug and train_aug.txt. Returns the folder."""
    folder = root / "VOCdevkit" / f"VOC{year}"
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("Main", "Segmentation", *(("Action",) if year == 2012 else ("Layout",))):
        (folder / "ImageSets" / name).mkdir(parents=True, exist_ok=True)
    lists, marks, number = {}, {}, 0
    for split in ("train", "val", *(("test",) if year == 2007 else ())):
        lists[split] = []
        for place in range(count):
            number += 1
            stem = f"{number:06d}" if year == 2007 else f"2008_{number:06d}"
            marks[stem] = _write_image(folder, stem, number, segmented=place % 2 == 0)
            lists[split].append(stem)
    lists["trainval"] = sorted(lists["train"] + lists["val"])
    for split, stems in lists.items():
        segmented = [stem for stem in stems if (folder / "SegmentationClass" / f"{stem}.png").is_file()]
        (folder / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        (folder / "ImageSets/Segmentation" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in segmented))
        for value, name in enumerate(CLASSES, 1):
            rows = "".join(f"{stem} {marks[stem].get(value, -1):2d}\n" for stem in stems)
            (folder / "ImageSets/Main" / f"{name}_{split}.txt").write_text(rows)
    if augmented:
        (folder / "SegmentationClassAug").mkdir()
        for stem in lists["train"]:
            values = np.asarray(Image.open(folder / "JPEGImages" / f"{stem}.jpg"))[..., 0] > 150
            Image.fromarray(values.astype(np.uint8)).save(folder / "SegmentationClassAug" / f"{stem}.png")
        rows = [f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png\n" for stem in lists["train"]]
        (folder / "ImageSets/Segmentation/train_aug.txt").write_text("".join(rows))
    return folder


def _write_image(folder: Path, stem: str, number: int, segmented: bool) -> dict[int, int]:
    """A noisy image with a box of each class that it has, and its XML; returns their marks."""
    random = np.random.default_rng(number)
    shown = [value for place, value in enumerate(SHOWN) if number >> place & 1]
    pixels = random.integers(60, 120, (48, 64, 3))
    classes, objects = np.zeros((2, 48, 64), np.uint8)
    written = []
    for place, value in enumerate(shown):
        top, left = random.integers(1, 28), 1 + 21 * place
        rows, columns = slice(top, top + 18), slice(left, left + 18)
        pixels[rows, columns] = np.array(SHOWN[value]) + random.integers(-20, 20, (18, 18, 3))
        classes[rows, columns] = objects[rows, columns] = 255  # the border, one pixel wide
        inside = slice(top + 1, top + 17), slice(left + 1, left + 17)
        classes[inside], objects[inside] = value, place + 1
        is_difficult = value == 15 and number % 8 == 4
        written.append(_object(value, left + 1, top + 1, left + 18, top + 18, is_difficult, stem.startswith("2")))
    (folder / "Annotations" / f"{stem}.xml").write_text(
        f"<annotation>\n\t<folder>{folder.name}</folder>\n\t<filename>{stem}.jpg</filename>\n\t<size>\n"
        f"\t\t<width>64</width>\n\t\t<height>48</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        f"\t<segmented>{int(segmented)}</segmented>\n{''.join(written)}</annotation>\n"
    )
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "JPEGImages" / f"{stem}.jpg", quality=95)
    if segmented:
        for name, values in (("SegmentationClass", classes), ("SegmentationObject", objects)):
            image = Image.fromarray(values, "P")
            image.putpalette(PALETTE)
            image.save(folder / name / f"{stem}.png")
    return {value: 0 if value == 15 and number % 8 == 4 else 1 for value in shown}


def _object(value: int, x0: int, y0: int, x1: int, y1: int, is_difficult: bool, is_late: bool) -> str:
    """As in 2007, or as some are in 2012: fractions of pixels, another order, and no flag that is 0. A person has a
    head, which is no object."""
    parts = f"<part><name>head</name>{_corners(x0 + 4, y0, x0 + 8, y0 + 4)}</part>" if value == 15 else ""
    flag = f"<difficult>{int(is_difficult)}</difficult>"
    if is_late:
        corners = _corners(x1 + 0.0, y1 + 0.0, x0 + 0.0, y0 + 0.0, names=("xmax", "ymax", "xmin", "ymin"))
        return f"\t<object>{corners}{flag * is_difficult}<name>{CLASSES[value - 1]}</name>{parts}</object>\n"
    more = f"<pose>Unspecified</pose><truncated>{value % 2}</truncated>{flag}"
    return f"\t<object><name>{CLASSES[value - 1]}</name>{more}{_corners(x0, y0, x1, y1)}{parts}</object>\n"


def _corners(*values: float, names: tuple[str, ...] = ("xmin", "ymin", "xmax", "ymax")) -> str:
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, values, strict=True))
    return f"<bndbox>{inside}</bndbox>"

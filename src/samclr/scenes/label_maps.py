"""Label maps: how each data set's files are read, for regions (`--segmenter labels`) and for dense evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from PIL import Image

from samclr.scenes.refs import LabelFile

NO_REGION = -1
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
CITYSCAPES_VOID = range(0, 7)  # unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground
INSTANCES_FROM = 1000  # in *_instanceIds.png: class * 1000 + number; below, a class without instances


class LabelError(ValueError):
    """A label map that cannot be used; the text becomes a row's status or an error's message."""


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """What a data set's files hold. regions: file's values -> integers [h w], NO_REGION where there is no region."""

    num_channels: int
    regions: Callable[[Shaped[np.ndarray, "h w *c"]], Int[np.ndarray, "h w"]]


def read_label_regions(label: LabelFile) -> Int[np.ndarray, "h w"]:
    """Integers that differ between touching regions, NO_REGION where there is none. Raises LabelError."""
    rule = RULES[label.rule]
    return rule.regions(read_values(Path(label.path), rule.num_channels))


def read_values(path: Path, num_channels: int = 1) -> Any:
    """A label file's values as they stand: palette indices, 8 or 16 bits; [h w], or [h w 3] for three channels.

    Raises:
        LabelError: the file is broken, or has another number of channels.
    """
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except Exception as error:  # as in decode: Pillow raises anything on broken bytes
        text = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise LabelError(f"cannot decode label map {path.name}: {text}") from error
    found = 1 if values.ndim == 2 else values.shape[2]
    if found != num_channels:
        wanted = "one of label ids" if num_channels == 1 else f"{num_channels}"
        raise LabelError(f"label map {path.name} has {found} channels; expected {wanted}")
    return values.astype(np.int64)


def label_of_stem(folder: Path, image_id: str) -> Path | None:
    """The label map in `folder` with an image's relative stem; None if there is none."""
    stem = (folder / image_id).with_suffix("")
    candidates = (stem.with_name(stem.name + suffix) for suffix in LABEL_SUFFIXES)
    return next((path for path in candidates if path.exists()), None)


def without(*void: int) -> Callable[[Int[np.ndarray, "h w"]], Int[np.ndarray, "h w"]]:
    """Values as they stand, but for those that mean nothing."""

    def regions(values: Int[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
        return np.where(np.isin(values, void), NO_REGION, values)

    return regions


def cityscapes_regions(values: Int[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Of *_instanceIds.png (or *_labelIds.png): instances and classes without instances, none where void."""
    classes = np.where(values >= INSTANCES_FROM, values // INSTANCES_FROM, values)
    return np.where(np.isin(classes, CITYSCAPES_VOID), NO_REGION, values)


def ade_classes(values: Int[np.ndarray, "h w 3"]) -> Int[np.ndarray, "h w"]:
    """Class numbers of the full ADE20K's *_seg.png: R / 10 * 256 + G; 0 is unlabelled."""
    return values[..., 0] // 10 * 256 + values[..., 1]


def ade_regions(values: Int[np.ndarray, "h w 3"]) -> Int[np.ndarray, "h w"]:
    """Instances of *_seg.png: the class with the instance number, which blue holds."""
    classes = ade_classes(values)
    return np.where(classes == 0, NO_REGION, classes * 256 + values[..., 2])


RULES = {
    "values": LabelRule(num_channels=1, regions=without()),
    "cityscapes": LabelRule(num_channels=1, regions=cityscapes_regions),
    "ade20k": LabelRule(num_channels=1, regions=without(0)),
    "ade20k-full": LabelRule(num_channels=3, regions=ade_regions),
    "camvid": LabelRule(num_channels=1, regions=without(11)),
    "bsds500": LabelRule(num_channels=1, regions=without()),
}

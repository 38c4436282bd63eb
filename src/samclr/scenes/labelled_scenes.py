"""Scenes with a class for every pixel: CamVid's layout (images/{train,val,test}/, labels/{train,val,test}/)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from samclr.errors import ScenesError, name_some
from samclr.scenes.sources import SceneRef, list_scenes

IGNORED = 255
DATA_VARIABLE = "SAMCLR_DATA"
CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
)
CAMVID_VOID = 11


@dataclass(frozen=True, kw_only=True)
class LabelledScenes:
    """Images and their label maps. lookup: the class (or IGNORED) of each value in a file; None takes them as is."""

    refs: Sequence[SceneRef]
    label_paths: Sequence[Path]
    classes: tuple[str, ...]
    lookup: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.refs)

    def label_map(self, number: int) -> UInt8[np.ndarray, "h w"]:
        """Class of every pixel at the label's own size, IGNORED where it does not count.

        Raises:
            ScenesError: the file cannot be read, or holds a value that is no class.
        """
        path = self.label_paths[number]
        try:
            with Image.open(path) as image:
                values = np.asarray(image)
        except (OSError, ValueError) as error:
            raise ScenesError(f"cannot read the label map {path}: {error}") from None
        if values.ndim != 2:
            raise ScenesError(f"the label map {path} is {values.shape}; expected one channel of class numbers")
        table = np.full(256, IGNORED, np.int64)
        known = range(len(self.classes)) if self.lookup is None else self.lookup
        table[: len(known)] = known
        if values.min() < 0 or (values.max() >= len(known) and values.max() != IGNORED):
            raise ScenesError(f"the label map {path} has the value {values.max()}; expected 0 to {len(known) - 1}")
        return table[values].astype(np.uint8)


def open_labelled_scenes(name_or_path: Path) -> tuple[LabelledScenes, LabelledScenes]:
    """Train and test scenes; a name is looked up in $SAMCLR_DATA.

    Raises:
        ScenesError: no such folder, a missing split, or images without label maps.
    """
    root = os.environ.get(DATA_VARIABLE)
    path = name_or_path if name_or_path.is_dir() or root is None else Path(root) / name_or_path
    if not (path / "images").is_dir() or not (path / "labels").is_dir():
        raise ScenesError(
            f"no labelled scenes at {name_or_path}: expected images/train/*.jpg and labels/train/*.png, and test/ "
            f"likewise; a name is looked up in the folder that ${DATA_VARIABLE} names"
        )
    return _read_split(path, "train"), _read_split(path, "test")


def _read_split(path: Path, split: str) -> LabelledScenes:
    refs = list_scenes([path / "images" / split])
    label_paths = [path / "labels" / split / f"{Path(ref.image_id).stem}.png" for ref in refs]
    missing = [str(label) for label in label_paths if not label.exists()]
    if missing:
        raise ScenesError(f"{len(missing)} images of {path} have no label map: {name_some(missing)}")
    lookup = (*range(CAMVID_VOID), IGNORED)
    return LabelledScenes(refs=refs, label_paths=label_paths, classes=CAMVID_CLASSES, lookup=lookup)

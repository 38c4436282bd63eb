"""Cityscapes (Cordts et al., CVPR 2016)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samclr.datasets.catalogue import IGNORED, DataSetSpec, FindLabels, PixelClasses, Split

if TYPE_CHECKING:
    import numpy as np

IMAGE_END = "_leftimg8bit.png"
VOID = range(0, 7)  # unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground
INSTANCES_FROM = 1000  # in *_instanceIds.png: class * 1000 + number; below, a class without instances
CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # of those classes
NUM_IDS = 34


def _labels(*kinds: str) -> FindLabels:
    """The first of those kinds of label maps that any image of a split has, so that no split mixes two."""

    def find(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
        of_kinds = ([_label(root, image_id, kind) for image_id in image_ids] for kind in kinds)
        none: list[Path | None] = [None] * len(image_ids)
        return next((found for found in of_kinds if any(found)), none)

    return find


def _label(root: Path, image_id: str, kind: str) -> Path | None:
    if image_id.startswith("test/"):  # its label maps are all void
        return None
    truth = "gtCoarse" if image_id.startswith("train_extra/") else "gtFine"
    path = root / truth / f"{image_id[: -len(IMAGE_END)]}_{truth}_{kind}.png"
    return path if path.is_file() else None


def regions_of(values: "np.ndarray") -> "np.ndarray":
    """Of *_instanceIds.png (or *_labelIds.png): instances and classes without instances, none where void."""
    import numpy as np

    classes = np.where(values >= INSTANCES_FROM, values // INSTANCES_FROM, values)
    return np.where(np.isin(classes, VOID), -1, values)


def pixel_classes(root: Path) -> PixelClasses:
    """The 19 classes of the benchmark."""
    of_id = {number: k for k, number in enumerate(IDS)}
    return PixelClasses(names=CLASSES, lookup=tuple(of_id.get(value, IGNORED) for value in range(NUM_IDS)))


SPEC = DataSetSpec(
    name="cityscapes",
    title="Cityscapes",
    folders=("cityscapes",),
    holds="leftImg8bit",
    splits=(
        Split(name="train", num_images=2975),
        Split(name="val", num_images=500),
        Split(name="test", num_images=1525, labelled=False, required=False),
        Split(name="train_extra", num_images=19998, labelled=False, required=False, labels_in="gtCoarse/train_extra"),
    ),
    scene_split="train",
    uses=("scenes", "regions", "dense"),
    layout="leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, gtFine/SPLIT/CITY/*_gtFine_{labelIds,instanceIds}.png",
    got_at="the Cityscapes site, after registration: leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip "
    "(train_extra: leftImg8bit_trainextra.zip and gtCoarse.zip)",
    terms="own licence: non-commercial research and teaching, no redistribution",
    native_px=1024,
    images="leftImg8bit",
    endings=(IMAGE_END,),
    region_labels=_labels("instanceIds", "labelIds"),
    class_labels=_labels("labelIds"),
    regions_of=regions_of,
    label_files=("gtFine", "_labelids.png"),
    signs=("leftImg8bit",),
    labels_among_scenes=("gtFine", "gtCoarse"),
    pixel_classes=pixel_classes,
)

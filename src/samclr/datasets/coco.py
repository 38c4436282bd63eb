"""COCO 2017 and COCO-Stuff (Caesar et al., CVPR 2018): where their files lie, and their tables of classes.

Things have the category ids 1 to 90, eleven of which COCO never used; stuff has 92 to 182. A map of things and stuff
(stuffthingmaps) holds the category id less 1, and 255 where there is no label. A map of stuff alone (pixelmaps, of
COCO's stuff task) holds the category id, 183 where there are things, "other", and 0 where there is no label.

The 27 coarse classes are those of IIC (Ji et al., ICCV 2019), PiCIE (Cho et al., CVPR 2021) and STEGO (Hamilton et al.,
ICLR 2022): COCO-Stuff's twelve supercategories of things and fifteen of stuff, in the order of `fine_to_coarse` in
STEGO's data.py.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from samclr.datasets.catalogue import IGNORED, DataSetSpec, FindLabels, PixelClasses, Split

if TYPE_CHECKING:
    import numpy as np

THINGS = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard"),
    *("cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase"),
    *("scissors", "teddy bear", "hair drier", "toothbrush"),
)
STUFF = (
    *("banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard"),
    *("carpet", "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard"),
    *("curtain", "desk-stuff", "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone"),
    *("floor-tile", "floor-wood", "flower", "fog", "food-other", "fruit", "furniture-other", "grass"),
    *("gravel", "ground-other", "hill", "house", "leaves", "light", "mat", "metal", "mirror-stuff", "moss"),
    *("mountain", "mud", "napkin", "net", "paper", "pavement", "pillow", "plant-other", "plastic", "platform"),
    *("playingfield", "railing", "railroad", "river", "road", "rock", "roof", "rug", "salad", "sand", "sea"),
    *("shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs", "stone", "straw"),
    *("structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable", "wall-brick"),
    *("wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other"),
    *("waterdrops", "window-blind", "window-other", "wood"),
)
COARSE = {
    "electronic": tuple(range(71, 77)),
    "appliance": tuple(range(77, 83)),
    "food": tuple(range(51, 61)),
    "furniture": tuple(range(61, 71)),
    "indoor": tuple(range(83, 91)),
    "kitchen": tuple(range(43, 51)),
    "accessory": tuple(range(25, 33)),
    "animal": tuple(range(15, 25)),
    "outdoor": tuple(range(9, 15)),
    "person": (0,),
    "sports": tuple(range(33, 43)),
    "vehicle": tuple(range(1, 9)),
    "ceiling": (101, 102),
    "floor": (100, 113, 114, 115, 116, 117),
    "food-stuff": (120, 121, 152, 169),
    "furniture-stuff": (97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164),
    "raw-material": (99, 131, 138, 142),
    "textile": (91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167),
    "wall": tuple(range(170, 177)),
    "window": (179, 180),
    "building": (94, 95, 127, 150, 157, 165),
    "ground": (110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158),
    "plant": (93, 96, 118, 123, 128, 133, 141, 162, 168),
    "sky": (105, 156),
    "solid": (126, 134, 149, 159, 161, 181),
    "structural": (98, 112, 137, 145, 163),
    "water": (119, 147, 154, 177, 178),
}
UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
THING_IDS = tuple(number for number in range(1, 91) if number not in UNUSED_IDS)
STUFF_IDS = tuple(range(92, 183))
NUM_VALUES = 182  # of a map of things and stuff
UNLABELLED, OTHER = 0, 183  # values of a map of stuff alone
NUM_COARSE_THINGS = 12  # of COARSE, the first

LABELLED = ("train2017", "val2017")
SPLITS = (
    *(Split(name=name, num_images=count) for name, count in zip(LABELLED, (118287, 5000), strict=True)),
    Split(name="unlabeled2017", num_images=123403, labelled=False, required=False),
    Split(name="test2017", num_images=40670, labelled=False, required=False),
)
IMAGE_FOLDERS = ("images",)  # beside the root itself
HELD = (*LABELLED[1:], "unlabeled2017", "test2017", *(f"images/{split.name}" for split in SPLITS))
FOLDERS = ("coco", "COCO", "coco2017")
STUFF_MAPS = ("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations")  # each with folders of the splits
PIXEL_MAPS = ("annotations/stuff_{split}_pixelmaps", "stuff_{split}_pixelmaps")
PANOPTIC_MAPS = ("annotations/panoptic_{split}", "panoptic_{split}")
LABEL_FOLDERS = (
    *(f"annotations/{kind}" for split in LABELLED for kind in (f"panoptic_{split}", f"stuff_{split}_pixelmaps", split)),
    *(f"{kind}_{split}{end}" for split in LABELLED for kind, end in (("panoptic", ""), ("stuff", "_pixelmaps"))),
    *STUFF_MAPS[:2],
)
TERMS = "annotations CC BY 4.0; photographs are Flickr's, under its terms; cite Lin et al. 2014"


def instances(root: Path, split: str) -> Path | None:
    """annotations/instances_SPLIT.json; None of the splits without public annotations."""
    return root / f"annotations/instances_{split}.json" if split in LABELLED else None


def instances_of(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
    """For each image the JSON of its split, where that is there."""
    files = {split: instances(root, split) for split in {image_id.partition("/")[0] for image_id in image_ids}}
    there = {split: file if file is not None and file.is_file() else None for split, file in files.items()}
    return [there[image_id.partition("/")[0]] for image_id in image_ids]


def maps_in(*folders: str) -> FindLabels:
    """PNG files of an image's own name in the first folder that holds any of its split; each folder is listed once."""

    def find(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
        listed = {split: _listed(root, folders, split) for split in {one.partition("/")[0] for one in image_ids}}
        found: list[Path | None] = []
        for image_id in image_ids:
            split, _, name = image_id.partition("/")
            folder, names = listed[split]
            name = f"{name.rpartition('.')[0]}.png"
            found.append(folder / name if name in names else None)
        return found

    return find


def _listed(root: Path, folders: Sequence[str], split: str) -> tuple[Path, set[str]]:
    for folder in (root / (one.format(split=split) if "{" in one else f"{one}/{split}") for one in folders):
        names = {name for name in os.listdir(folder) if name.endswith(".png")} if folder.is_dir() else set()
        if names:
            return folder, names
    return root, set()


def panoptic_segments(values: "np.ndarray") -> "np.ndarray":
    """Segments' ids [h w] of a panoptic PNG's colours [h w 3], R + 256 G + 65536 B; 0 is void."""
    import numpy as np

    ids = values[..., 0] + 256 * values[..., 1] + 65536 * values[..., 2]
    return np.where(ids == 0, -1, ids)


def fine_classes(root: Path) -> PixelClasses:
    """The 171 classes of things and stuff, without the ids that COCO never used."""
    ids = (*THING_IDS, *STUFF_IDS)
    of_value = {number - 1: k for k, number in enumerate(ids)}
    return PixelClasses(names=(*THINGS, *STUFF), lookup=tuple(of_value.get(v, IGNORED) for v in range(NUM_VALUES)))


def coarse_classes(root: Path) -> PixelClasses:
    """The 27 coarse classes."""
    of_value = {value: k for k, values in enumerate(COARSE.values()) for value in values}
    return PixelClasses(names=tuple(COARSE), lookup=tuple(of_value[value] for value in range(NUM_VALUES)))


def stuff_classes(root: Path) -> PixelClasses:
    """The 91 kinds of stuff, and `other`, as COCO's stuff task has them."""
    of_value = {OTHER: len(STUFF), **{number: k for k, number in enumerate(STUFF_IDS)}}
    return PixelClasses(
        names=(*STUFF, "other"), lookup=tuple(of_value.get(value, IGNORED) for value in range(1 + OTHER))
    )


def coarse_stuff_classes(root: Path) -> PixelClasses:
    """The fifteen coarse classes of stuff; things are ignored."""
    groups = dict(list(COARSE.items())[NUM_COARSE_THINGS:])
    of_value = {1 + value: k for k, values in enumerate(groups.values()) for value in values}
    return PixelClasses(names=tuple(groups), lookup=tuple(of_value.get(v, IGNORED) for v in range(1 + OTHER)))


def pixelmap_set(name: str, title: str, classes: Callable[[Path], PixelClasses]) -> DataSetSpec:
    """A set of COCO's images with its maps of stuff alone."""
    folder = PIXEL_MAPS[0]
    return replace(
        stuff_set(name, title, classes),
        layout="{train,val}2017/*.jpg, also below images/, annotations/stuff_{train,val}2017_pixelmaps/*.png (or there "
        "without annotations/)",
        got_at="the COCO site: train2017.zip, val2017.zip and stuff_annotations_trainval2017.zip, with the archives in "
        "it unpacked",
        region_labels=maps_in(*PIXEL_MAPS),
        class_labels=maps_in(*PIXEL_MAPS),
        void=(UNLABELLED, OTHER),
        label_files=(folder, ".png"),
    )


def stuff_set(
    name: str, title: str, classes: Callable[[Path], PixelClasses], signs: tuple[str, ...] = ()
) -> DataSetSpec:
    """A set of COCO's images with its maps of things and stuff."""
    return DataSetSpec(
        name=name,
        title=title,
        folders=(*FOLDERS, "coco_stuff164k", "cocostuff"),
        holds="train2017",
        also_holds=HELD,
        splits=SPLITS[:2],
        scene_split="train2017",
        uses=("scenes", "regions", "dense"),
        layout="{train,val}2017/*.jpg, also below images/, stuffthingmaps/{train,val}2017/*.png (or annotations/SPLIT)",
        got_at="the COCO site: train2017.zip and val2017.zip; stuffthingmaps_trainval2017.zip of the COCO-Stuff page, "
        "unpacked into stuffthingmaps/",
        terms=TERMS.replace("Lin et al. 2014", "Caesar et al. 2018"),
        images_also=IMAGE_FOLDERS,
        endings=(".jpg",),
        region_labels=maps_in(*STUFF_MAPS),
        class_labels=maps_in(*STUFF_MAPS),
        void=(IGNORED,),
        label_files=("stuffthingmaps", ".png"),
        signs=signs,
        labels_among_scenes=LABEL_FOLDERS,
        pixel_classes=classes,
        dense_splits=(LABELLED[:1], LABELLED[1]),
    )

"""Pascal VOC (Everingham et al., IJCV 2010; 2015) in the layout of its archives, which torchvision has, too.

Splits of its classification and detection are called train, val, trainval, test; those of its segmentation seg_train
and so on. Of 2012 there is `trainaug`, too, with the label maps of SBD (Hariharan et al., ICCV 2011), which either lie
as people unpack them, SegmentationClassAug/ID.png and a list train_aug.txt or trainaug.txt, or as its own archive
unpacks beside VOCdevkit: then it is VOC's train and all of SBD without VOC's val.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from samclr.datasets import sbd
from samclr.datasets.catalogue import (
    Boxes,
    DataSetSpec,
    FindLabels,
    LabelledBox,
    Multilabel,
    PixelClasses,
    Split,
    same_stem,
)
from samclr.datasets.pascal_context import CONVERTED, OBJECTS_AND_CLASSES
from samclr.datasets.text_files import read_lines
from samclr.errors import EvaluationError, ScenesError, name_some

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
BACKGROUND, VOID = 0, 255  # values of label maps; the classes are 1 to 20
SEGMENTED, AUGMENTED = "seg_", "trainaug"
AUGMENTED_LISTS = tuple(
    f"ImageSets/{folder}/{name}.txt"
    for folder in ("Segmentation", "SegmentationAug")
    for name in ("train_aug", AUGMENTED)
)
SBD_MAPS = "SBD's"  # of `find_class_labels`: its maps beside VOCdevkit
LABEL_FOLDERS = (*OBJECTS_AND_CLASSES, "SegmentationClassAug")
MARKS = {"1": 1, "-1": -1, "0": 0}
ANNOTATION = "Annotations/{stem}.xml"
IDS = {2007: re.compile(r"\d{6}"), 2012: re.compile(r"\d{4}_\d{6}")}
OF_A_YEAR = re.compile(r"VOC\d{4}")
CITED = "photographs are Flickr's, under its terms; cite Everingham et al. 2010"


def pixel_classes(root: Path) -> PixelClasses:
    """Background and the 20 classes; 255, the borders and what is difficult, is void."""
    return PixelClasses(names=("background", *CLASSES), lookup=tuple(range(1 + len(CLASSES))))


def read_marks(root: Path, split: str, stems: Sequence[str]) -> tuple[tuple[str, ...], Any]:
    """Of ImageSets/Main/CLASS_SPLIT.txt: 1 where the class is there, -1 where it is not, 0 where it is difficult.

    Raises:
        EvaluationError: a class has no such file, or it lacks images, has one twice, or has another mark.
    """
    import numpy as np

    marks = np.zeros((len(stems), len(CLASSES)), np.int64)
    for number, name in enumerate(CLASSES):
        path = root / "ImageSets" / "Main" / f"{name}_{split}.txt"
        if not path.is_file():
            raise EvaluationError(f"{path} is missing: it says which images of the split {split} show the class {name}")
        rows = [line.split() for line in read_lines(path)]
        odd = [" ".join(row) for row in rows if len(row) != 2 or row[1] not in MARKS]
        if odd:
            raise EvaluationError(f"{path} has the line {odd[0]!r}; expected an image and 1, -1 or 0")
        found = {stem: MARKS[mark] for stem, mark in rows}
        if len(found) < len(rows):
            raise EvaluationError(f"{path} has {len(rows) - len(found)} images twice; restore it")
        if without := [stem for stem in stems if stem not in found]:
            raise EvaluationError(f"{path} lacks {len(without):,} images of the split {split}: {name_some(without)}")
        marks[:, number] = [found[stem] for stem in stems]
    return CLASSES, marks


def read_boxes(
    root: Path, split: str, image_ids: Sequence[str], sizes_hw: Sequence[tuple[int, int]]
) -> Iterator[Sequence[LabelledBox]]:
    """The objects of Annotations/ID.xml, beside the folder of the image. See samclr.datasets.voc_boxes."""
    from samclr.datasets.voc_boxes import read_objects

    for image_id, size in zip(image_ids, sizes_hw, strict=True):
        yield read_objects(annotation_of(root, image_id), CLASSES, size)


def annotation_of(root: Path, image_id: str) -> Path:
    """The XML of an image: of ID.jpg, or of VOC2007/JPEGImages/ID.jpg where several years have one root."""
    year, _, name = image_id.rpartition("JPEGImages/")
    return root / year / ANNOTATION.format(stem=name.removesuffix(".jpg"))


def boxes_of(*train: str, test: str) -> Boxes:
    """See DataSetSpec.boxes."""
    return Boxes(train=train, test=test, classes=lambda root: CLASSES, objects=read_boxes, by_voc=True)


def lacks_annotations(listed: Any) -> Any:
    """See DataSetSpec.faults_of: images of the lists for detection that have no XML."""

    def faults_of(root: Path, split: str | None) -> list[str]:
        if split is None or split.startswith(SEGMENTED) or split == AUGMENTED:
            return []
        without = [name for name in listed(root, split) if not annotation_of(root, name).is_file()]
        return [f"{len(without):,} images have no {ANNOTATION.format(stem='ID')}: {name_some(without)}"] * bool(without)

    return faults_of


def find_class_labels(*folders: str) -> FindLabels:
    """The label map of an image's stem in the first of the folders that has one; SBD_MAPS stands for SBD's."""

    def find(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
        of_sbd = sbd_of(root) if SBD_MAPS in folders else None
        return [_first_map(root, folders, image_id.removesuffix(".jpg"), of_sbd) for image_id in image_ids]

    return find


def _first_map(root: Path, folders: Sequence[str], stem: str, of_sbd: Path | None) -> Path | None:
    paths = [root / folder / f"{stem}.png" for folder in folders if folder != SBD_MAPS]
    paths += [] if of_sbd is None else [of_sbd / "cls" / f"{stem}.mat"]
    return next((path for path in paths if path.is_file()), None)


def sbd_of(root: Path) -> Path | None:
    """SBD's folder beside VOCdevkit: where that is typed, else where its links lead to; None if there is none."""
    devkits = [Path(os.path.abspath(root)).parent, root.resolve().parent]
    places = [devkit.parent / sbd.ROOT for devkit in devkits]
    return next((place for place in places if (place / "cls").is_dir()), None)


def lister(year: int) -> Any:
    """See DataSetSpec.listed."""

    def listed(root: Path, split: str) -> list[str]:
        segmented = split.startswith(SEGMENTED)
        usual = f"ImageSets/{'Segmentation' if segmented else 'Main'}/{split.removeprefix(SEGMENTED)}.txt"
        names = AUGMENTED_LISTS if split == AUGMENTED else (usual,)
        file = next((root / name for name in names if (root / name).is_file()), None)
        if file is None and split == AUGMENTED and (of_sbd := sbd_of(root)) is not None:
            return _augmented_by_sbd(root, of_sbd, listed)
        if file is None:
            beside = f", or {sbd.ROOT} beside VOCdevkit" if split == AUGMENTED else ""
            raise ScenesError(
                f"the split {split} of {title_of(year)} has no list in {root}: expected {' or '.join(names)}{beside}; "
                f"samclr data check voc{year} --root {root} tells where to get it"
            )
        lines = [line.split()[0] for line in read_lines(file)]
        stems = [line.rsplit("/", 1)[-1].removesuffix(".jpg") for line in lines]
        if odd := [stem for stem in stems if not IDS[year].fullmatch(stem)]:
            other = next((f"{title_of(one)}'s" for one, ids in IDS.items() if ids.fullmatch(odd[0])), "no image's")
            raise ScenesError(f"{file} has {odd[0]!r}, {other} id, not one of {title_of(year)}; see to the root")
        if twice := len(stems) - len(set(stems)):
            raise ScenesError(f"{file} has {twice:,} images twice; restore it")
        return [f"{stem}.jpg" for stem in stems]

    return listed


def _augmented_by_sbd(root: Path, of_sbd: Path, listed: Any) -> list[str]:
    """VOC's train, then those of SBD that are not in it nor in VOC's val, in their order."""
    train, val = listed(root, f"{SEGMENTED}train"), set(listed(root, f"{SEGMENTED}val"))
    names = {name for split in sbd.LABELLED for name in sbd.listed(of_sbd, split)}
    return [*train, *sorted(names - val - set(train))]


def title_of(year: int) -> str:
    """As messages call it."""
    return f"Pascal VOC {year}"


def other_than(year: int) -> Callable[[Path], str]:
    """See DataSetSpec.why_other: images of 2008 to 2012 have ids alike, and their folders hold the same."""

    def why_other(root: Path) -> str:
        names = [root.name.upper(), root.resolve().name.upper()]
        if f"VOC{year}" in names:
            return ""
        if OF_A_YEAR.fullmatch(names[-1]):
            return f"it is called {names[-1]}; rename it if it does hold {title_of(year)}"
        if (root / CONVERTED).is_dir():
            return f"it holds {CONVERTED}, Pascal Context's maps of VOC 2010; rename it to VOC{year} if it is both"
        return ""

    return why_other


def downloader(year: int, *sets: str) -> Any:
    """See DataSetSpec.download: by torchvision, archive by archive, those of which a file is not there."""

    def download(root: Path) -> None:
        from torchvision.datasets import VOCDetection

        place = root / "VOCdevkit" / f"VOC{year}"
        for one in sets:
            try:
                whole = all(path.is_file() for path in _files_of(place, year, one))
            except ScenesError:
                whole = False
            if not whole:
                VOCDetection(root, year=str(year), image_set=one, download=True)

    return download


def _files_of(root: Path, year: int, split: str) -> Iterator[Path]:
    """An archive's images, XML and label maps, by its lists. Raises ScenesError where a list is not there."""
    for name in lister(year)(root, split):
        yield from (root / "JPEGImages" / name, annotation_of(root, f"JPEGImages/{name}"))
    for name in lister(year)(root, f"{SEGMENTED}{split}"):
        yield from ((root / folder / name).with_suffix(".png") for folder in OBJECTS_AND_CLASSES)


def voc(
    year: int, splits: Sequence[Split], *, signs: tuple[str, ...], class_folders: tuple[str, ...], archives: str,
    dense_splits: tuple[tuple[str, ...], str], measured: tuple[str, str], boxes: Boxes, fetched: tuple[str, ...],
) -> DataSetSpec:  # fmt: skip
    """The set of a year. measured: splits for multi-label classification. fetched: torchvision's names of archives."""
    augmented = (
        ", and SBD as SegmentationClassAug/ID.png with ImageSets/Segmentation/train_aug.txt (trainaug), or as "
        f"{sbd.ROOT} beside VOCdevkit"
    )
    return DataSetSpec(
        name=f"voc{year}",
        title=title_of(year),
        folders=(f"VOCdevkit/VOC{year}", f"VOC{year}"),
        holds="JPEGImages",
        splits=tuple(splits),
        scene_split="trainval",
        uses=("scenes", "regions", "dense", "multilabel", "detection"),
        layout=f"VOCdevkit/VOC{year}/{{JPEGImages/ID.jpg,Annotations/ID.xml,ImageSets/{{Main,Segmentation}}/*.txt,"
        f"SegmentationClass/ID.png,SegmentationObject/ID.png}}{augmented if year == 2012 else ''}",
        got_at=f"the Pascal VOC page of Oxford, {archives}",
        terms=CITED,
        images="JPEGImages",
        endings=(".jpg",),
        listed=lister(year),
        region_labels=same_stem("SegmentationObject"),
        class_labels=find_class_labels(*class_folders),
        void=(BACKGROUND, VOID),
        signs=signs,
        why_other=other_than(year),
        labels_among_scenes=LABEL_FOLDERS,
        pixel_classes=pixel_classes,
        dense_splits=dense_splits,
        multilabel=Multilabel(train=measured[0], test=measured[1], marks=read_marks),
        boxes=boxes,
        faults_of=lacks_annotations(lister(year)),
        download=downloader(year, *fetched),
    )

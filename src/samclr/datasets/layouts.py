"""Where the images and labels of the known data sets lie below their roots."""

import glob
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from samclr.datasets.catalogue import DATA_SETS, DataSet
from samclr.datasets.label_maps import LabelError, label_of_stem
from samclr.datasets.names import NamedSource
from samclr.errors import ScenesError, name_some
from samclr.scenes.containers import list_file
from samclr.scenes.refs import IMAGE_SUFFIXES, LabelFile, SceneRef, relative_id, stem_of, walk

Files = Mapping[str, tuple[str, ...]]
FindLabel = Callable[[Path, str], Path | None]
CITYSCAPES_END = "_leftimg8bit.png"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One data set's files.

    Attributes:
        images: folder of the splits below the root; image ids are relative to it.
        endings: of an image's name, in lower case.
        region_label, class_label: from the root and an image's id to its label map, None if there is none.
        files: for each split the files that hold its images, where these are no folders of images.
    """

    images: str = "."
    endings: tuple[str, ...] = IMAGE_SUFFIXES
    region_label: FindLabel = lambda root, image_id: None
    class_label: FindLabel = lambda root, image_id: None
    files: Files | None = None


def list_named(source: NamedSource) -> list[SceneRef]:
    """The images of a split with their own label maps, where there are any.

    Raises:
        ScenesError: the split is not there, or holds no image.
    """
    layout, root = LAYOUTS[source.data_set.name], source.root
    refs = list(_list_files(source, layout) if layout.files is not None else _list_images(source, layout))
    if not refs:
        raise ScenesError(
            f"the split {source.split} of {source.data_set.title} has no image in {root}: "
            f"expected {source.data_set.layout}; {_advice(source)}"
        )
    return refs


def _list_files(source: NamedSource, layout: Layout) -> Iterator[SceneRef]:
    files = (layout.files or {})[source.split]
    missing = [file for file in files if not (source.root / file).is_file()]
    if missing:
        raise ScenesError(
            f"the split {source.split} of {source.data_set.title} lacks {name_some(missing)} in {source.root}; "
            f"{_advice(source)}"
        )
    for file in files:
        yield from list_file(SceneRef(image_id=f"{source.split}/{file}", path=str(source.root / file)))


def _list_images(source: NamedSource, layout: Layout) -> Iterator[SceneRef]:
    base = source.root / layout.images
    folder = base / source.split
    if not folder.is_dir():
        present = [split.name for split in source.data_set.splits if (base / split.name).is_dir()]
        raise ScenesError(
            f"{source.data_set.title} has no split {source.split} in {source.root}: expected the folder {folder}; "
            f"found {', '.join(present) or 'no split'}; {_advice(source)}"
        )
    unreadable: list[str] = []
    for path in walk(folder, layout.endings, unreadable):
        image_id = relative_id(path, base)
        found = layout.region_label(source.root, image_id)
        label = None if found is None else LabelFile(path=str(found), rule=source.data_set.name)
        yield SceneRef(image_id=image_id, path=path, label=label)
    for path in unreadable:
        yield SceneRef(image_id=relative_id(path, base) + "/", path=path)


def _advice(source: NamedSource) -> str:
    return f"samclr data check {source.data_set.name} --root {source.root} tells where it is got"


def recognise(folder: Path) -> DataSet | None:
    """The set with label maps whose root a folder is, by what lies in it."""
    if (folder / "leftImg8bit").is_dir():
        return DATA_SETS["cityscapes"]
    if (folder / "images/ADE").is_dir():
        return DATA_SETS["ade20k-full"]
    if (folder / "images/training").is_dir() and (folder / "annotations/training").is_dir():
        return DATA_SETS["ade20k"]
    if (folder / "images").is_dir() and (folder / "segmentations").is_dir():
        return DATA_SETS["bsds500"]
    return DATA_SETS["camvid"] if (folder / "images").is_dir() and (folder / "labels").is_dir() else None


def refuse_labels_as_scenes(folder: Path) -> None:
    """Raise ScenesError for a root whose label maps a plain listing would take for scenes."""
    data_set = recognise(folder)
    has_labels = any((folder / name).is_dir() for name in ("gtFine", "gtCoarse", "annotations", "images/ADE"))
    if data_set is not None and has_labels and data_set.name in ("cityscapes", "ade20k", "ade20k-full"):
        raise ScenesError(
            f"{folder} is a root of {data_set.title}, whose label maps are no scenes: type {data_set.name}@{folder} "
            f"for its split {data_set.scene_split}, or name a folder of images in it"
        )


# ---- labels ----


def _cityscapes(*kinds: str) -> FindLabel:
    def find(root: Path, image_id: str) -> Path | None:
        if image_id.startswith("test/"):  # its label maps are all void
            return None
        stem = image_id[: -len(CITYSCAPES_END)]
        truth = "gtCoarse" if image_id.startswith("train_extra/") else "gtFine"
        paths = (root / truth / f"{stem}_{truth}_{kind}.png" for kind in kinds)
        return next((path for path in paths if path.is_file()), None)

    return find


def _same_stem(folder: str) -> FindLabel:
    def find(root: Path, image_id: str) -> Path | None:
        try:
            return label_of_stem(root / folder, image_id)
        except LabelError as error:
            raise ScenesError(str(error)) from None

    return find


def _ade_full(root: Path, image_id: str) -> Path | None:
    path = root / "images/ADE" / f"{stem_of(image_id)}_seg.png"
    return path if path.is_file() else None


def _first_person(root: Path, image_id: str) -> Path | None:
    stem = root / "segmentations" / stem_of(image_id)
    ends = (path.stem.removeprefix(f"{stem.name}_") for path in stem.parent.glob(f"{glob.escape(stem.name)}_*.png"))
    people = [end for end in ends if end.isascii() and end.isdigit()]
    return stem.with_name(f"{stem.name}_{min(people, key=int)}.png") if people else None


_STL_FILES: Files = {split: (f"{split}_X.bin",) for split in ("train", "test", "unlabeled")}
_CIFAR_FILES: Files = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
LAYOUTS = {
    "cityscapes": Layout(
        images="leftImg8bit",
        endings=(CITYSCAPES_END,),
        region_label=_cityscapes("instanceIds", "labelIds"),
        class_label=_cityscapes("labelIds"),
    ),
    "ade20k": Layout(
        images="images",
        endings=(".jpg",),
        region_label=_same_stem("annotations"),
        class_label=_same_stem("annotations"),
    ),
    "ade20k-full": Layout(images="images/ADE", endings=(".jpg",), region_label=_ade_full),
    "camvid": Layout(images="images", region_label=_same_stem("labels"), class_label=_same_stem("labels")),
    "bsds500": Layout(images="images", region_label=_first_person),
    "cifar10": Layout(files=_CIFAR_FILES),
    "stl10": Layout(files=_STL_FILES),
    "imagenette": Layout(endings=(".jpeg",)),
    "imagenette-320": Layout(endings=(".jpeg",)),
    "imagenette-160": Layout(endings=(".jpeg",)),
}

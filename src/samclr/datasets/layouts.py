"""Where the images and labels of the known data sets lie below their roots."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samclr.datasets.catalogue import DATA_SETS, DataSet
from samclr.datasets.label_maps import LabelError, People, label_of_stem, match_people, refuse_shared, shared_stems
from samclr.datasets.names import NamedSource
from samclr.errors import ScenesError, name_some
from samclr.log import say_once
from samclr.scenes.containers import list_file
from samclr.scenes.notes import ListingNotes
from samclr.scenes.refs import IMAGE_SUFFIXES, LabelFile, SceneRef, relative_id, stem_of, walk

Files = Mapping[str, tuple[str, ...]]
FindLabel = Callable[[Path, str], Path | None]
FindLabels = Callable[[Path, Sequence[str]], list[Path | None]]
CITYSCAPES_END = "_leftimg8bit.png"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One data set's files.

    Attributes:
        images: folder of the splits below the root; image ids are relative to it.
        endings: of an image's name, in lower case.
        beside: how files end that belong beside the images and are no images that were forgotten.
        region_labels, class_labels: from the root and images' ids to their label maps, None where there is none; asked
            for with all images of a split, since an image's label map may be known by the other images' names alone.
        files: for each split the files that hold its images, where these are no folders of images.
    """

    images: str = "."
    endings: tuple[str, ...] = IMAGE_SUFFIXES
    beside: tuple[str, ...] = ()
    region_labels: FindLabels = lambda root, image_ids: [None] * len(image_ids)
    class_labels: FindLabels = lambda root, image_ids: [None] * len(image_ids)
    files: Files | None = None


def list_named(source: NamedSource, notes: ListingNotes | None = None) -> list[SceneRef]:
    """The images of a split with their own label maps, where there are any. `notes` gets what was passed over.

    Raises:
        ScenesError: the split is not there, or holds no image; or a label map fits several images.
    """
    layout, root = LAYOUTS[source.data_set.name], source.root
    notes = ListingNotes() if notes is None else notes
    refs = list(_list_files(source, layout) if layout.files is not None else _list_images(source, layout, notes))
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


def _list_images(source: NamedSource, layout: Layout, notes: ListingNotes) -> Iterator[SceneRef]:
    base = source.root / layout.images
    folder = base / source.split
    if not folder.is_dir():
        present = [split.name for split in source.data_set.splits if (base / split.name).is_dir()]
        raise ScenesError(
            f"{source.data_set.title} has no split {source.split} in {source.root}: expected the folder {folder}; "
            f"found {', '.join(present) or 'no split'}; {_advice(source)}"
        )
    unreadable: list[str] = []
    others: list[str] = []
    paths = list(walk(folder, layout.endings, unreadable, others))
    notes.pass_over(name for name in others if not name.endswith(layout.beside))
    image_ids = [relative_id(path, base) for path in paths]
    for path, image_id, found in zip(paths, image_ids, find_region_labels(source, image_ids), strict=True):
        label = None if found is None else LabelFile(path=str(found), rule=source.data_set.name)
        yield SceneRef(image_id=image_id, path=path, label=label)
    for path in unreadable:
        yield SceneRef(image_id=relative_id(path, base) + "/", path=path)


def find_region_labels(source: NamedSource, image_ids: Sequence[str]) -> list[Path | None]:
    """The label maps of a split's images, for regions. Raises ScenesError where one would serve several images."""
    return _unshared(source, image_ids, LAYOUTS[source.data_set.name].region_labels(source.root, image_ids))


def find_class_labels(source: NamedSource, image_ids: Sequence[str]) -> list[Path | None]:
    """The label maps of a split's images, for classes. Raises ScenesError where one would serve several images."""
    return _unshared(source, image_ids, LAYOUTS[source.data_set.name].class_labels(source.root, image_ids))


def _unshared(source: NamedSource, image_ids: Sequence[str], found: list[Path | None]) -> list[Path | None]:
    labelled = {stem_of(image_id): path for image_id, path in zip(image_ids, found, strict=True) if path is not None}
    refuse_shared(source.root, labelled, shared_stems(image_ids))
    return found


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


def _each(find: FindLabel) -> FindLabels:
    return lambda root, image_ids: [find(root, image_id) for image_id in image_ids]


def _cityscapes(*kinds: str) -> FindLabels:
    def find(root: Path, image_id: str) -> Path | None:
        if image_id.startswith("test/"):  # its label maps are all void
            return None
        stem = image_id[: -len(CITYSCAPES_END)]
        truth = "gtCoarse" if image_id.startswith("train_extra/") else "gtFine"
        paths = (root / truth / f"{stem}_{truth}_{kind}.png" for kind in kinds)
        return next((path for path in paths if path.is_file()), None)

    return _each(find)


def _same_stem(folder: str) -> FindLabels:
    def find(root: Path, image_id: str) -> Path | None:
        try:
            return label_of_stem(root / folder, image_id)
        except LabelError as error:
            raise ScenesError(str(error)) from None

    return _each(find)


def _ade_full(root: Path, image_id: str) -> Path | None:
    path = root / "images/ADE" / f"{stem_of(image_id)}_seg.png"
    return path if path.is_file() else None


def _first_people(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
    """The label map of an image's own stem, else that of the first person, where no other image has that name."""
    folder = root / "segmentations"
    people = match_people(folder, image_ids) if folder.is_dir() else People()
    if people.doubtful:
        left_out = [f"{name} ({why})" for name, why in people.doubtful.items()]
        say_once(f"{len(left_out):,} label maps in {folder} are left out: {name_some(left_out)}")
    return [next(iter(people.by_stem.get(stem_of(image_id), [])), None) for image_id in image_ids]


_STL_FILES: Files = {split: (f"{split}_X.bin",) for split in ("train", "test", "unlabeled")}
_CIFAR_FILES: Files = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
LAYOUTS = {
    "cityscapes": Layout(
        images="leftImg8bit",
        endings=(CITYSCAPES_END,),
        region_labels=_cityscapes("instanceIds", "labelIds"),
        class_labels=_cityscapes("labelIds"),
    ),
    "ade20k": Layout(
        images="images",
        endings=(".jpg",),
        region_labels=_same_stem("annotations"),
        class_labels=_same_stem("annotations"),
    ),
    "ade20k-full": Layout(images="images/ADE", endings=(".jpg",), beside=(".png",), region_labels=_each(_ade_full)),
    "camvid": Layout(images="images", region_labels=_same_stem("labels"), class_labels=_same_stem("labels")),
    "bsds500": Layout(images="images", region_labels=_first_people),
    "cifar10": Layout(files=_CIFAR_FILES),
    "stl10": Layout(files=_STL_FILES),
    "imagenette": Layout(endings=(".jpeg",)),
    "imagenette-320": Layout(endings=(".jpeg",)),
    "imagenette-160": Layout(endings=(".jpeg",)),
}

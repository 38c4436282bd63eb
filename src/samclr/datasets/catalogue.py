"""How a data set is declared: its splits, where it is got and on what terms, and how its files are found and read.

Each is one file in samclr.datasets.named, or of another package. Declaring reads nothing and imports nothing heavy, so
that `samclr data list` and --help are instant; functions that need arrays import them when they are called.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from samclr.config.registry import Registry
from samclr.errors import ScenesError
from samclr.scenes.refs import IMAGE_SUFFIXES, SceneRef

if TYPE_CHECKING:
    import numpy as np

FindLabel = Callable[[Path, str], Path | None]
FindLabels = Callable[[Path, Sequence[str]], list[Path | None]]
FindInstances = Callable[[Path, str], Path | None]
ListSplit = Callable[[Path, str], Sequence[str]]
ImageMarks = Callable[[Path, str, Sequence[str]], tuple[tuple[str, ...], Any]]
ImageClasses = Callable[[Path, Sequence[SceneRef], Sequence[SceneRef]], tuple[tuple[str, ...], Any, Any]]
IGNORED = 255  # the class number of pixels without a class


def no_labels(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
    """Of sets without label maps."""
    return [None] * len(image_ids)


def for_each(find: FindLabel) -> FindLabels:
    """Label maps of which each is found by the name of its own image alone."""
    return lambda root, image_ids: [find(root, image_id) for image_id in image_ids]


def no_others(root: Path) -> str:
    """Of sets whose signs no other set has."""
    return ""


def no_faults(root: Path, split: str | None) -> list[str]:
    """Of sets whose files have no checksums that are known."""
    return []


def same_stem(folder: str) -> FindLabels:
    """Label maps that lie in a folder of the root, each with its image's relative stem."""

    def find(root: Path, image_id: str) -> Path | None:
        from samclr.datasets.label_maps import LabelError, label_of_stem

        try:
            return label_of_stem(root / folder, image_id)
        except LabelError as error:
            raise ScenesError(str(error)) from None

    return for_each(find)


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split as released. `required`: `samclr data check` asks for it; `labelled`: each image has a label.

    labels_in: of a split without labels, a folder below the root that gives it some where it is there.
    """

    name: str
    num_images: int
    labelled: bool = True
    required: bool = True
    labels_in: str = ""


@dataclass(frozen=True, kw_only=True)
class PixelClasses:
    """The classes of a set's pixels. lookup: from a label map's value to the number of its class, else IGNORED."""

    names: tuple[str, ...]
    lookup: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Multilabel:
    """Sets whose images have several classes each.

    Attributes:
        train, test: splits to train and to measure on.
        marks: from the root, a split and the stems of its images to names of classes and marks [n c]: 1 where the image
            has the class, -1 where it has not, 0 where it does not count for the class.
    """

    train: str
    test: str
    marks: ImageMarks


class LabelledBox(NamedTuple):
    """An object. box_xyxy: half-open, in px of the upright image, and as annotated, so that it may reach beyond it.

    is_difficult: no matter whether it is found; is_crowd: several objects in one box.
    """

    box_xyxy: tuple[float, float, float, float]
    label: int
    is_difficult: bool = False
    is_crowd: bool = False


ObjectBoxes = Callable[[Path, str, Sequence[str], Sequence[tuple[int, int]]], Iterator[Sequence[LabelledBox]]]


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Sets whose objects have a box and a class each, for detection.

    Attributes:
        train: splits that may be trained on, the usual one first. test: the one that is measured on.
        classes: from the root to their names.
        objects: from the root, a split, ids of some of its images and their heights and widths to each image's objects,
            in this order. Raises EvaluationError where annotations are missing, malformed or those of other images.
        by_voc: whether Pascal VOC's own rules are counted as well.
    """

    train: tuple[str, ...]
    test: str
    classes: Callable[[Path], tuple[str, ...]]
    objects: ObjectBoxes
    by_voc: bool = False


@dataclass(frozen=True, kw_only=True)
class LabelKind:
    """One kind of labels that regions are made of.

    Attributes:
        name: as --annotations takes it; "" of sets with one kind.
        title: as messages call them.
        find: from the root and images' ids to the file of each, None where there is none.
        form: a label map of each image, one JSON file of instances in COCO's format, or one table that names several
            mask files of each image.
        label_channels, regions_of, void: of label maps, as of DataSetSpec.
        label_files: as of DataSetSpec; {split} in the folder stands for the split's name.
        mask_files: of a table: from its path to images' names without suffix, each with the path of one of its masks.
    """

    name: str
    title: str
    find: FindLabels
    form: Literal["map", "instances", "mask files"] = "map"
    label_channels: int = 1
    regions_of: "Callable[[np.ndarray], np.ndarray] | None" = None
    void: tuple[int, ...] = ()
    label_files: tuple[str, str] | None = None
    mask_files: Callable[[Path], Iterator[tuple[str, str]]] | None = None


@dataclass(frozen=True, kw_only=True)
class DataSetSpec:
    """Declares a data set known by name.

    Attributes:
        folders: names under which a root may hold it; the root may also be such a folder itself.
        holds: what must lie in that folder for it to be this set; also_holds: what may lie there instead.
        splits: in the layout's own words. scene_split: the one that NAME@ROOT means.
        uses: scenes (pre-training), regions (labels for --segmenter labels), dense, labelled (a class for each image),
            multilabel (several), detection.
        layout, got_at, terms: as `samclr data list --json` tells them.
        native_px: shorter side of its images, where all are alike.
        images: folder of the splits below the root; image ids are relative to it. images_also: other folders that may
            hold a split, where `images` does not.
        endings: of an image's name, in lower case.
        files: for each split the files that hold its images, where these are no folders of images.
        listed: from the root and a split to its images' names below `images`, where splits are lists and not folders.
        beside: how files end that belong beside the images and are no images that were forgotten.
        region_labels, class_labels: from the root and images' ids to their label maps, None where there is none; asked
            for with all images of a split, since an image's label map may be known by the other images' names alone.
        label_channels: of a label map's file, 1 or 3 (RGB).
        regions_of: from a label map's values [h w] or [h w 3] to integers [h w] that differ between touching regions,
            -1 where there is none; by default the values as they stand.
        void: of sets without regions_of, the values that mean nothing.
        label_kinds: of sets with several kinds of labels for regions, or with masks in a file of many images, in place
            of region_labels, label_channels, regions_of and void; the first is taken unless another is asked for.
        label_files: folder below the root and ending of files of which each must belong to an image.
        signs: folders whose presence makes a folder a root of this set, though nobody named it.
        why_other: from a folder with its signs to why it is another set's, "" where it is not.
        own_layout: sets of one's own, with a classes.txt, may have this layout, too.
        labels_among_scenes: folders of a root whose label maps a plain listing would take for scenes.
        pixel_classes: from the root to the classes of pixels, for dense evaluation.
        dense_splits: of sets whose splits for dense evaluation have names of their own, those that may be trained on,
            the usual one first, and the one that is measured on.
        people: folder below the root with the label maps of several people for each image.
        multilabel: splits and marks of several classes an image.
        image_classes: from the root and the images of the training and the test split to names of classes and the
            labels [n] of both; by default the folders in a split are the classes.
        instances: from the root and a split to its JSON of instances in COCO's format, whether or not it is there; None
            of splits without. Its images are named as in the split's folder.
        boxes: splits and boxes of objects, of sets without such a JSON.
        faults_of: what is wrong with the files of a split, or for None of the set: their checksums, or what lacks.
        download: fetches it into a folder, where that can be done without registration.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    holds: str
    splits: tuple[Split, ...]
    scene_split: str
    uses: tuple[str, ...]
    layout: str
    got_at: str
    terms: str
    also_holds: tuple[str, ...] = ()
    native_px: int | None = None
    images: str = "."
    images_also: tuple[str, ...] = ()
    endings: tuple[str, ...] = IMAGE_SUFFIXES
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    listed: ListSplit | None = None
    beside: tuple[str, ...] = ()
    region_labels: FindLabels = no_labels
    class_labels: FindLabels = no_labels
    label_channels: int = 1
    regions_of: "Callable[[np.ndarray], np.ndarray] | None" = None
    void: tuple[int, ...] = ()
    label_kinds: tuple[LabelKind, ...] = ()
    label_files: tuple[str, str] | None = None
    signs: tuple[str, ...] = ()
    why_other: Callable[[Path], str] = no_others
    own_layout: bool = False
    labels_among_scenes: tuple[str, ...] = ()
    pixel_classes: Callable[[Path], PixelClasses] | None = None
    dense_splits: tuple[tuple[str, ...], str] | None = None
    people: str = ""
    multilabel: Multilabel | None = None
    image_classes: ImageClasses | None = None
    instances: FindInstances | None = None
    boxes: Boxes | None = None
    faults_of: Callable[[Path, str | None], list[str]] = no_faults
    download: Callable[[Path], None] | None = None

    def split(self, name: str) -> Split | None:
        """The split of that name, None if there is none."""
        return next((split for split in self.splits if split.name == name), None)

    def kinds(self) -> tuple[LabelKind, ...]:
        """The kinds of its labels for regions, one without a name where it declares none."""
        only = LabelKind(name="", title="label map", find=self.region_labels, label_channels=self.label_channels,
                         regions_of=self.regions_of, void=self.void, label_files=self.label_files)  # fmt: skip
        return self.label_kinds or (only,)

    def kind(self, name: str) -> LabelKind:
        """The kind of that name, which it has."""
        return next(kind for kind in self.kinds() if kind.name == name)

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds what this set's must."""
        return any((folder / held).exists() for held in (self.holds, *self.also_holds))

    def image_folder(self, root: Path, split: str) -> Path:
        """The folder that ids of a split's images are relative to: the first that has the split, else the usual one."""
        candidates = [root / images for images in (self.images, *self.images_also)]
        return next((folder for folder in candidates if (folder / split).is_dir()), candidates[0])


DATASETS: Registry[DataSetSpec] = Registry("data set", "samclr.datasets.named", "DataSetSpec", group="samclr.datasets")


def register_dataset(spec: DataSetSpec) -> DataSetSpec:
    """Add a data set for this process, and return its spec; a package declares it as an entry point of
    `samclr.datasets`.

    Raises:
        PluginError: it is not a DataSetSpec, or its name is taken.
    """
    return DATASETS.register(spec)

"""Sets of instances: images with a box, a class and mostly a mask for each object, in COCO's JSON. No torch here.

All that may be wrong with a set is found when it is opened: what is malformed would else end a training of days.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from samclr.datasets.catalogue import DATASETS
from samclr.datasets.names import DATA_VARIABLE, as_named, refuse_split
from samclr.draws import seeded_subset
from samclr.errors import EvaluationError, FilesError, PartsError, RegionError, ScenesError, name_some, one_of
from samclr.evaluation.detection.categories import read_classes, used_names
from samclr.log import say_once
from samclr.regions.annotation_files import Entry, read_coco
from samclr.regions.annotations import as_object, is_crowd, is_number, read_annotation, short
from samclr.regions.placing import Photo, Size
from samclr.scenes.decode import DecodeError, Header, read_header, read_image
from samclr.scenes.fill import Tally
from samclr.scenes.reading import content_hash
from samclr.scenes.refs import SceneRef, is_image_like
from samclr.storage.files import confined

TRAIN_FOLDERS = ("train2017", "train")
VAL_FOLDERS = ("val2017", "val", "valid", "validation", "test")
LEAST_SIDE_PX = 0.01  # of a box: thinner ones may be nothing in float32, flipped and resized
MORE_KEYS = frozenset({"category_id", "bbox", "name", "supercategory"})
EXPECTED = (
    "expected the folders train/ and val/ (or train2017/ and val2017/) with images, and for each "
    "annotations/instances_FOLDER.json, or _annotations.coco.json in the folder itself"
)


@dataclass(frozen=True, kw_only=True, slots=True)  # there may be a hundred thousand
class ImageInstances:
    """An image and its objects, not decoded yet.

    Attributes:
        ref: where the image is.
        size: height and width in px.
        boxes_xyxy: as annotated, in px; they may reach beyond the image.
        labels: numbers of classes, from 0.
        is_crowd: several objects in one: not trained on, and neither right nor wrong to find.
        rles: a mask for each object, in COCO's compressed run lengths; empty in a set of boxes.
        is_difficult: trained on, and neither right nor wrong to find; None where no object is.
    """

    ref: SceneRef
    size: Size
    boxes_xyxy: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, "n"]
    is_crowd: Bool[np.ndarray, "n"]
    rles: tuple[bytes, ...]
    is_difficult: Bool[np.ndarray, "n"] | None = None

    @property
    def counts(self) -> Bool[np.ndarray, "n"]:
        """Whether each object is to be found: it is neither a crowd nor difficult."""
        return ~self.is_crowd if self.is_difficult is None else ~(self.is_crowd | self.is_difficult)

    @property
    def clipped_xyxy(self) -> Float[np.ndarray, "n 4"]:
        """The boxes' part inside the image."""
        return clipped(self.boxes_xyxy, self.size)


@dataclass(frozen=True, kw_only=True)
class InstanceSplit:
    """The images of a split, in the order of their JSON file."""

    images: Sequence[ImageInstances]

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, num: int | None, seed: int) -> "InstanceSplit":
        """A seeded random subset, the same in every run; all images where `num` is None or larger."""
        if num is None or num >= len(self.images):
            return self
        return InstanceSplit(images=[self.images[number] for number in seeded_subset(seed, len(self.images), num)])

    @cached_property
    def trained(self) -> "InstanceSplit":
        """The images with an object that is not a crowd: the others teach nothing."""
        return InstanceSplit(images=[one for one in self.images if not one.is_crowd.all()])

    @property
    def num_objects(self) -> int:
        """Objects that are to be found: neither crowds nor difficult."""
        return sum(int(one.counts.sum()) for one in self.images)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any name, size or object, and with the content of any image; each is read for it.

        Raises:
            EvaluationError: images cannot be read.
        """
        digest, broken = hashlib.sha256(), []
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            contents = list(pool.map(_content, self.images))
        for one, (content, fault) in zip(self.images, contents, strict=True):
            if fault:
                broken.append(f"{one.ref.image_id} ({fault})")
            digest.update(repr((one.ref.image_id, one.size, content, one.rles)).encode())
            for values in (one.boxes_xyxy, one.labels, one.is_crowd):
                digest.update(values.tobytes())
            if one.is_difficult is not None:
                digest.update(one.is_difficult.tobytes())
        if broken:
            raise EvaluationError(f"{len(broken)} images cannot be read: {name_some(broken)}; fix or remove them")
        return digest.hexdigest()[:16]


def _content(one: ImageInstances) -> tuple[str, str]:
    """The hash of its file, and what is wrong with it."""
    try:
        return content_hash(read_image(one.ref)), ""
    except DecodeError as error:
        return "", str(error)


@dataclass(frozen=True, kw_only=True)
class InstanceSet:
    """A training and a validation split over the same classes.

    name: with the split that is trained on, where that is not the usual one. has_masks: not a set of boxes alone.
    by_voc: Pascal VOC's own rules are counted as well.
    """

    name: str
    classes: tuple[str, ...]
    has_masks: bool
    train: InstanceSplit
    val: InstanceSplit
    by_voc: bool = False


def clipped(boxes_xyxy: Float[np.ndarray, "n 4"], size: Size) -> Float[np.ndarray, "n 4"]:
    """Boxes cut off at the edges of an image of this height and width."""
    return np.clip(boxes_xyxy, 0, np.array([size[1], size[0], size[1], size[0]], np.float64))


def has_area(box_xyxy: Sequence[float], size: Size) -> bool:
    """Whether an image of this height and width has a part of the box that can be trained on."""
    x0, y0, x1, y1 = clipped(np.array([box_xyxy], np.float64), size)[0]
    return bool(x1 - x0 >= LEAST_SIDE_PX and y1 - y0 >= LEAST_SIDE_PX)


def open_instances(name_or_path: Path) -> InstanceSet:
    """Open a set of instances: a folder as EXPECTED says, NAME@ROOT, or a name in the folder that $SAMCLR_DATA names.

    Raises:
        EvaluationError: there is no such set, a split or an image is missing, an annotation is malformed, images and
            JSON disagree, or the validation split has classes that the training split lacks, or no objects.
    """
    root = _root(name_or_path)
    files = [_split_files(root, folders) for folders in (TRAIN_FOLDERS, VAL_FOLDERS)]
    if files[1][0].name == VAL_FOLDERS[-1]:
        say_once(f"{root} has no split for validation: it is measured on its folder {VAL_FOLDERS[-1]}/")
    try:
        (train, train_ids), (val, val_ids) = (_read_json(folder, file) for folder, file in files)
    except (PartsError, RegionError) as error:
        raise EvaluationError(str(error)) from None
    classes = tuple(train_ids.values())
    if unknown := sorted(set(val_ids.values()) & used_names(val, val_ids) - set(classes)):
        raise EvaluationError(
            f"{files[1][1]} has objects of {len(unknown)} classes that {files[0][1]} does not name: "
            f"{name_some(unknown)}; a detector cannot find what it was not trained on"
        )
    has_masks = any(_has_mask(one) for entry in train for one in entry.annotations())
    numbers = {name: number for number, name in enumerate(classes)}
    splits = []
    for (folder, file), entries, ids in zip(files, (train, val), (train_ids, val_ids), strict=True):
        known = {category: numbers.get(name, -1) for category, name in ids.items()}
        reader = _Reader(root, folder, file, known, has_masks)
        splits.append(InstanceSplit(images=list(reader.images(entries))))
        reader.say_notes()
    for split, (_, file) in zip(splits, files, strict=True):
        if split.num_objects == 0:
            raise EvaluationError(f"{file} has no object with a box{' and a mask' * has_masks}; expected some")
    held = {int(label) for one in splits[0].images for label in one.labels[~one.is_crowd]}
    if idle := [name for number, name in enumerate(classes) if number not in held]:
        say_once(f"{files[0][1].name}: {len(idle)} classes have no object to train on: {name_some(idle)}")
    return InstanceSet(
        name=_name_of(name_or_path, root), classes=classes, has_masks=has_masks, train=splits[0], val=splits[1]
    )


def _root(name_or_path: Path) -> Path:
    try:
        named = as_named(name_or_path)
        if named is not None and named.data_set.instances is not None:
            train, val = (
                [name for name in names if named.data_set.split(name)] for names in (TRAIN_FOLDERS, VAL_FOLDERS)
            )
            if train and val and named.split != val[0]:
                refuse_split(named, "detection", train[:1], val[0])
    except ScenesError as error:
        raise EvaluationError(str(error)) from None
    if named is not None and named.data_set.instances is None:
        raise EvaluationError(f"{named.data_set.title} has no instances; use {_names()}, or a folder: {EXPECTED}")
    if named is not None:
        return named.root
    variable = os.environ.get(DATA_VARIABLE)
    places = [name_or_path] if variable is None else [name_or_path, Path(variable) / name_or_path]
    root = next((path for path in places if path.is_dir()), None)
    if root is None:
        raise EvaluationError(
            f"no set of instances at {name_or_path}: {EXPECTED}; or {_names()} as NAME@ROOT; a name is looked up in "
            f"the folder that ${DATA_VARIABLE} names"
        )
    return root


def _name_of(name_or_path: Path, root: Path) -> str:
    """The catalogue's name where the set is named, or its folder is called so: one's own have that layout, too."""
    named, folder = as_named(name_or_path), root.resolve().name
    if named is not None:
        return named.data_set.name
    known = (one for one in DATASETS.values() if one.instances is not None and folder in one.folders)
    return next((one.name for one in known if one.is_in(root)), folder)


def _names() -> str:
    known = (one for one in DATASETS.values() if one.instances is not None or one.boxes is not None)
    return one_of(one.name for one in known)


def _split_files(root: Path, folders: Sequence[str]) -> tuple[Path, Path]:
    """The folder of a split's images and its JSON file; the first folder that has one."""
    tried = []
    for name in folders:
        folder = root / name if (root / name).is_dir() else root / "images" / name
        if not folder.is_dir():
            continue
        exact = (root / "annotations" / f"instances_{name}.json", folder / "_annotations.coco.json")
        if found := next((file for file in exact if file.is_file()), None):
            return folder, found
        begin = f"instances_{name}"
        others = sorted((root / "annotations").glob(f"{begin}*.json"))
        if len(others) == 1:
            return folder, others[0]
        if others:
            raise EvaluationError(
                f"{root} has {len(others)} files {begin}*.json: {name_some([one.name for one in others])}; "
                f"keep one, or call it {begin}.json"
            )
        tried.append(name)
    what = f"{' and '.join(tried)} without its JSON file" if tried else f"none of {', '.join(folders)}"
    raise EvaluationError(f"{root} has {what}: {EXPECTED}; found {name_some(sorted(os.listdir(root))) or 'nothing'}")


def _read_json(folder: Path, file: Path) -> tuple[list[Entry], dict[Any, str]]:
    """The images that a file names, and its classes by their ids, in the order of the ids."""
    source, categories = read_coco(file, MORE_KEYS)
    for note in source.notes:
        if note.count:
            say_once(note.line())
    if not source.entries:
        raise EvaluationError(f"{file} names no image; expected those of {folder}")
    entries = list(source.entries.values())
    return entries, read_classes(file, categories, entries)


def _has_mask(annotation: Any) -> bool:
    return isinstance(annotation, dict) and annotation.get("segmentation") not in (None, [], {}, "")


class _Reader:
    """Reads the entries of a split, and counts what it leaves out."""

    def __init__(self, root: Path, folder: Path, file: Path, known: dict[Any, int], has_masks: bool):
        self.root, self.folder, self.file, self.known, self.has_masks = root, folder, file, known, has_masks
        self.left_out: Counter[str] = Counter()

    def images(self, entries: Sequence[Entry]) -> Iterator[ImageInstances]:
        missing = [entry.name for entry in entries if self._path(entry.name) is None]
        if missing:
            raise EvaluationError(
                f"{len(missing)} of {len(entries)} images of {self.file} are not in {self.folder}: {name_some(missing)}"
            )
        unnamed = {path for path in self.folder.rglob("*") if is_image_like(str(path.relative_to(self.folder)))}
        for entry in entries:
            path = self._path(entry.name)
            assert path is not None
            unnamed.discard(path)
            try:
                yield self._image(entry, path)
            except RegionError as error:
                raise EvaluationError(f"{self.file}: {entry.name}: {error}; fix or remove it") from None
        if unnamed:
            some = name_some(sorted(str(path.relative_to(self.folder)) for path in unnamed))
            say_once(
                f"{self.file}: {len(unnamed):,} images of {self.folder} that it does not name are left out: {some}"
            )

    def say_notes(self) -> None:
        for what, count in self.left_out.items():
            say_once(f"{self.file.name}: {count:,} {what}")

    def _path(self, name: str) -> Path | None:
        """Below the split's folder, else below the root: some files name images with their folder."""
        try:
            places = [confined(self.folder, name), confined(self.root, name)]
        except FilesError:  # it leads out of the folder
            return None
        return next((path for path in places if path.is_file()), None)

    def _image(self, entry: Entry, path: Path) -> ImageInstances:
        if entry.fault is not None:
            raise RegionError(entry.fault)
        header = self._header(path)
        size = (header.height, header.width)
        if entry.size not in (None, size):
            raise RegionError(
                f"it is {size[1]}x{size[0]} px upright, in the JSON file {entry.size[1]}x{entry.size[0]}; expected "
                f"annotations of the image as it stands"
            )
        photo = Photo(height=size[0], width=size[1], orientation=header.orientation)
        if photo.is_turned_unseen:
            say_once(
                "photos whose EXIF rotation does not show in their size: their objects are taken as drawn on the "
                "upright photo"
            )
        boxes, labels, crowds, rles = [], [], [], []
        for number, annotation in enumerate(entry.annotations()):
            where = f"annotation number {number}"
            values = as_object(annotation, where)
            category = values.get("category_id")
            if isinstance(category, bool | list | dict) or category not in self.known:
                raise RegionError(f"{where}: category_id is {short(category)}; expected one of the file's categories")
            box, rle = self._box_and_mask(values, photo, where)
            if box is None:
                continue
            boxes.append(box)
            labels.append(self.known[category])
            crowds.append(is_crowd(values, where))
            rles += [] if rle is None else [rle]
        return ImageInstances(
            ref=SceneRef(image_id=entry.name, path=str(path)),
            size=size,
            boxes_xyxy=np.array(boxes, np.float64).reshape(-1, 4),
            labels=np.array(labels, np.int64),
            is_crowd=np.array(crowds, bool),
            rles=tuple(rles),
        )

    def _header(self, path: Path) -> Header:
        try:
            return read_header(path)
        except DecodeError as error:
            raise RegionError(str(error)) from None

    def _box_and_mask(
        self, values: dict[str, Any], photo: Photo, where: str
    ) -> tuple[tuple[float, ...] | None, bytes | None]:
        """The box as annotated, else the mask's, and the mask; no box where the object is left out and counted."""
        skipped: Tally = {}
        region, box = None, None
        if self.has_masks:
            region = read_annotation(values | {"iscrowd": 0}, photo, (photo.height, photo.width), where, skipped)
            if region is None:
                self.left_out["objects without a mask are left out"] += 1
                return None, None
            box = tuple(map(float, region.box_xyxy))
        if (stated := values.get("bbox")) is not None:
            if not isinstance(stated, list) or len(stated) != 4 or not all(map(is_number, stated)):
                raise RegionError(f"{where}: bbox is {short(stated)}; expected [x, y, width, height] in px")
            x, y, width, height = map(float, stated)
            box = (x, y, x + width, y + height)
        if box is None:
            raise RegionError(f"{where} has no bbox; expected [x, y, width, height] in px")
        if not has_area(box, (photo.height, photo.width)):
            self.left_out["objects whose box has no area in the image are left out"] += 1
            return None, None
        return box, None if region is None else region.rle

"""Where in its data set's annotations each image's masks are: read once, before worker processes each read their own.

COCO's JSON gives every image the places of its annotations, a table of mask files their names. A worker then reads
single annotations from the file, and no process holds the file parsed.
"""

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from samclr.datasets.catalogue import DATASETS, LabelKind
from samclr.datasets.json_lists import elements
from samclr.errors import ScenesError, name_some
from samclr.log import say_once
from samclr.scenes.reading import content_hash
from samclr.scenes.refs import LabelFile, SceneRef, stem_of
from samclr.storage.files import regular

NUM_HEAD = 4  # numbers before the places: the file's size and time, the image's height and width (0 if not stated)
SEPARATOR = b"\n"  # between the paths of mask files


@dataclass(kw_only=True)
class Instances:
    """What a JSON of instances holds, by the name that it gives an image.

    index: of each image its packed places. annotated: how many have an annotation. categories: names by id. faults:
    what is wrong with the file, in words.
    """

    index: dict[str, bytes] = field(default_factory=dict)
    annotated: int = 0
    categories: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Place:
    """An image's annotations in a JSON of instances. spans: first byte and length of each; size: height and width."""

    stamp: tuple[int, int]
    size: tuple[int, int] | None
    spans: tuple[tuple[int, int], ...]


def read_instances(path: Path) -> Instances:
    """Read a JSON of instances once, in bounded memory: 16 bytes stay of an annotation.

    Raises:
        ScenesError: it is not there, not COCO's JSON, was cut short, or names an image twice.
    """
    if not path.is_file():
        raise ScenesError(f"no such file of annotations: {path}")
    status, found = path.stat(), Instances()
    sizes: dict[int | str, tuple[str, int, int]] = {}
    spans: dict[int | str | None, array[int]] = {}
    lists: set[str] = set()
    of_category: dict[int | None, int] = {}
    for one in elements(path):
        value = one.value if isinstance(one.value, dict) else {}
        lists.add(one.key)
        if one.key == "images":
            image_id, name = value.get("id"), value.get("file_name")
            if not _is_id(image_id) or not isinstance(name, str):
                raise ScenesError(
                    f"{path} has an image without a whole number or a text as id, and a file_name: {str(value)[:80]}"
                )
            if image_id in sizes:
                raise ScenesError(f"{path} has two images with the id {image_id}")
            sizes[image_id] = (name, _length(value.get("height")), _length(value.get("width")))
        elif one.key == "annotations":
            image_id = value.get("image_id")
            spans.setdefault(image_id if _is_id(image_id) else None, array("q")).extend((one.offset, one.length))
            category = category_of(value)
            of_category[category] = of_category.get(category, 0) + 1
        elif one.key == "categories" and type(value.get("id")) is int:
            found.categories[value["id"]] = str(value.get("name"))
    if not {"images", "annotations"} <= lists:
        raise ScenesError(f"{path} is not COCO JSON: expected an object with the lists images and annotations")
    for image_id, (name, height, width) in sizes.items():
        if name in found.index:
            raise ScenesError(f"{path} has two images with the file_name {name}")
        places = spans.pop(image_id, None)
        found.annotated += places is not None
        head = array("q", (status.st_size, status.st_mtime_ns, height, width))
        found.index[name] = (head + places if places is not None else head).tobytes()
    if lost := sum(len(places) // 2 for places in spans.values()):
        ids = name_some(sorted("none" if one is None else repr(one) for one in spans), 3)
        listed = name_some(sorted(map(repr, sizes))[:3], 3) or "none"
        found.faults.append(
            f"{lost:,} annotations of {path.name} name images that it does not list: {ids}; its images have the ids "
            f"{listed}"
        )
    unknown = {one: n for one, n in of_category.items() if one not in found.categories}
    if unknown:
        names = ["no whole number" if one is None else str(one) for one in unknown]
        named, count = name_some(sorted(names)), sum(unknown.values())
        found.faults.append(f"{count:,} annotations of {path.name} have category ids that it does not list: {named}")
    return found


def category_of(annotation: dict[str, Any]) -> int | None:
    """The id of an annotation's category; None of one that is no whole number."""
    category = annotation.get("category_id")
    return category if type(category) is int else None


def place_of(index: bytes) -> Place:
    """What `read_instances` packed of an image."""
    numbers = array("q")
    numbers.frombytes(index)
    size_b, mtime_ns, height, width = numbers[:NUM_HEAD]
    spans = tuple(zip(numbers[NUM_HEAD::2], numbers[NUM_HEAD + 1 :: 2], strict=True))
    return Place(stamp=(size_b, mtime_ns), size=(height, width) if height and width else None, spans=spans)


def indexed(refs: Sequence[SceneRef]) -> list[SceneRef]:
    """The scenes, each label in a file of many images with its index; b"" where the file does not name the image.

    Raises:
        ScenesError: a file cannot be read, or names none of the images.
    """
    by_file: dict[LabelFile, list[int]] = {}
    for number, ref in enumerate(refs):
        if ref.label is not None and is_shared(ref.label):
            by_file.setdefault(ref.label, []).append(number)
    found = list(refs)
    for label, numbers in by_file.items():
        index = index_of(label)
        ids = [refs[number].image_id for number in numbers]
        keys = [key_of(image_id, index) for image_id in ids]
        if not any(key is not None for key in keys):
            raise ScenesError(
                f"{label.path} names none of the images: it has {name_some(sorted(index)[:3], 3) or 'none'}; "
                f"they have {name_some(ids, 3)}"
            )
        for number, key in zip(numbers, keys, strict=True):
            found[number] = replace(refs[number], label=replace(label, index=b"" if key is None else index[key]))
    return found


def index_of(label: LabelFile) -> dict[str, bytes]:
    """The index of a file of many images, by the names that it has. Raises ScenesError."""
    kind = kind_of(label)
    if kind.mask_files is None:
        found = read_instances(Path(label.path))
        if not found.annotated:
            raise ScenesError(
                f"{label.path} has no annotation of any of its {len(found.index):,} images"
                f"{''.join(f': {fault}' for fault in found.faults)}; restore it"
            )
        for fault in found.faults:
            say_once(fault)
        return found.index
    index: dict[str, bytes] = {}
    for name, path in kind.mask_files(Path(label.path)):
        packed = path.encode("utf-8", "surrogateescape")
        index[name] = index[name] + SEPARATOR + packed if name in index else packed
    return index


def mask_paths(index: bytes) -> list[Path]:
    """The mask files that `index_of` packed of an image."""
    return [Path(path.decode("utf-8", "surrogateescape")) for path in index.split(SEPARATOR)]


def all_labels(ref: SceneRef) -> tuple[LabelFile, ...]:
    """Those of every kind that an image has."""
    return (*(() if ref.label is None else (ref.label,)), *ref.other_labels)


def label_of_kind(ref: SceneRef, kind: str | None) -> LabelFile | None:
    """An image's label of a kind, for None of its set's first kind; None where it has none.

    Of a set with one kind that is the one.
    """
    if kind is None:
        return ref.label
    return next((label for label in all_labels(ref) if label.kind in ("", kind)), None)


def kind_of(label: LabelFile) -> LabelKind:
    """The kind of its set's labels that a label is."""
    return DATASETS[label.rule].kind(label.kind)


def is_shared(label: LabelFile) -> bool:
    """Whether its file holds the masks of many images; a label map, of a set or from a folder, is its image's own."""
    return label.rule in DATASETS and kind_of(label).form != "map"


def stamp_of(label: LabelFile | None) -> tuple[int, int]:
    """Size in bytes and modification time in ns of the file that holds an image's label, of several their sum and the
    latest; (0, 0) where one is not there."""
    try:
        found = [os.stat(path) for path in _files_of(label)]
    except OSError:
        return 0, 0
    return sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)


def hash_of(label: LabelFile | None) -> str:
    """Hash of an image's label map or mask files, or of its own annotations in a JSON; "" where they are not there."""
    parts: list[bytes] = []
    try:
        for path in _files_of(label):
            if label is None or not is_shared(label) or kind_of(label).mask_files is not None:
                parts.append(regular(path).read_bytes())
            elif label.index:
                parts += _annotations_of(path, place_of(label.index))
    except OSError:
        return ""
    return content_hash(b"".join(parts)) if label is not None else ""


def _files_of(label: LabelFile | None) -> list[Path]:
    if label is None:
        return []
    if is_shared(label) and kind_of(label).mask_files is not None:
        return mask_paths(label.index) if label.index else []
    return [Path(label.path)]


def _annotations_of(path: Path, place: Place) -> list[bytes]:
    found = []
    with path.open("rb") as file:
        for offset, length in place.spans:
            file.seek(offset)
            found.append(file.read(length))
    return found


def key_of(image_id: str, names: Iterable[str] | dict[str, bytes]) -> str | None:
    """The name that means an image: the longest end of its id, from a slash on, with its suffix or without."""
    rest = image_id
    while True:
        for name in (rest, stem_of(rest)):
            if name in names:
                return name
        _, slash, rest = rest.partition("/")
        if not slash:
            return None


def _is_id(value: Any) -> TypeGuard[int | str]:
    """As `samclr regions import` takes them."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def _length(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

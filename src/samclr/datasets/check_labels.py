"""Whether a split's images have the labels that its release has, for `samclr data check`."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from samclr.datasets.annotation_index import index_of, key_of, mask_paths, place_of, read_instances
from samclr.datasets.catalogue import LabelKind, Split
from samclr.datasets.layouts import find_class_labels
from samclr.datasets.names import NamedSource
from samclr.errors import ScenesError, name_some
from samclr.scenes.refs import LabelFile, SceneRef, relative_id, walk


@dataclass(frozen=True, kw_only=True)
class LabelMaps:
    """The label map of each image, None where there is none, and its channels."""

    paths: Sequence[Path | None]
    num_channels: int


@dataclass(kw_only=True)
class LabelsCheck:
    """What was found. count: images with a label, None where the split has none; maps: of which sizes are compared;
    sizes_hw: of images by their ids, height and width in px as a JSON of instances states them."""

    count: int | None = None
    faults: list[str] = field(default_factory=list)
    maps: list[LabelMaps] = field(default_factory=list)
    sizes_hw: dict[str, tuple[int, int]] = field(default_factory=dict)


def check_labels(source: NamedSource, split: Split, refs: Sequence[SceneRef]) -> LabelsCheck:
    """Images without a label, labels without an image, and what is wrong with files of many images' labels.

    Of a set with several kinds the first must be there; of a dense one the maps of classes and, for the splits that are
    required, those of regions where they are others.
    """
    found, data_set = LabelsCheck(), source.data_set
    is_extra = split.labels_in != "" and (source.root / split.labels_in).is_dir()
    if "regions" not in data_set.uses or not (split.labelled or is_extra):
        return found
    kinds = data_set.kinds()
    image_ids = [ref.image_id for ref in refs]
    classes: list[Path | None] | None = None
    if "dense" in data_set.uses:
        classes = find_class_labels(source, image_ids)
        _check_maps(found, source, image_ids, classes, replace(kinds[0], label_channels=1))
        kinds = tuple(replace(kind, title=f"{kind.title} for regions", label_files=None) for kind in kinds)
        kinds = kinds if split.required else ()
    for number, kind in enumerate(kinds):
        paths = kind.find(source.root, image_ids)
        if paths == classes or (number and not any(paths)):
            continue
        if kind.form == "map" or not any(paths):
            _check_maps(found, source, image_ids, paths, kind)
        else:
            _check_files(found, source, kind, image_ids, paths)
    return found


def _check_maps(
    found: LabelsCheck, source: NamedSource, image_ids: list[str], paths: Sequence[Path | None], kind: LabelKind
) -> None:
    found.maps.append(LabelMaps(paths=paths, num_channels=kind.label_channels))
    without = [image_id for image_id, path in zip(image_ids, paths, strict=True) if path is None]
    if without:
        found.faults.append(f"{len(without):,} images have no {kind.title}: {name_some(without)}")
    stray = _stray_labels(source, paths, kind)
    if stray:
        found.faults.append(f"{len(stray):,} label maps belong to no image: {name_some(stray)}")
    found.count = len(image_ids) - len(without) if found.count is None else found.count


def _check_files(
    found: LabelsCheck, source: NamedSource, kind: LabelKind, image_ids: list[str], paths: Sequence[Path | None]
) -> None:
    """Of files that hold the labels of many images: whom they name, and whom they do not."""
    count = 0
    for path in dict.fromkeys(path for path in paths if path is not None):
        mine = [image_id for image_id, its in zip(image_ids, paths, strict=True) if its == path]
        try:
            if kind.form == "instances":
                whole = read_instances(path)
                names, faults = whole.index, whole.faults
            else:
                names = index_of(LabelFile(path=str(path), rule=source.data_set.name, kind=kind.name))
                faults = _missing_masks(path, names.values())
        except ScenesError as error:
            found.faults.append(str(error))
            continue
        keys = [key_of(image_id, names) for image_id in mine]
        if kind.form == "instances":
            places = {one: place_of(names[key]) for one, key in zip(mine, keys, strict=True) if key is not None}
            found.sizes_hw |= {one: place.size for one, place in places.items() if place.size is not None}
        count += sum(key is not None for key in keys)
        found.faults += faults
        if kind.form == "instances" and (without := [i for i, key in zip(mine, keys, strict=True) if key is None]):
            found.faults.append(f"{path.name} does not name {len(without):,} images: {name_some(without)}")
        if absent := sorted(names.keys() - {key for key in keys if key is not None}):
            found.faults.append(f"{path.name} names {len(absent):,} images that are not there: {name_some(absent)}")
    found.count = count if found.count is None else found.count


def _missing_masks(table: Path, indexes: Iterable[bytes]) -> list[str]:
    """Mask files that a table names and that are not there, counted by the first character, as archives have them."""
    by_folder: dict[Path, list[str]] = {}
    for index in indexes:
        for path in mask_paths(index):
            by_folder.setdefault(path.parent, []).append(path.name)
    missing: list[str] = []
    for folder, names in by_folder.items():
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        missing += [name for name in names if name not in there]
    if not missing:
        return []
    first = Counter(name[0] for name in missing)
    counts = ", ".join(f"{character} {count:,}" for character, count in sorted(first.items()))
    return [
        f"{len(missing):,} masks that {table.name} names are missing: {name_some(sorted(missing))}; by the first "
        f"character of their names: {counts}"
    ]


def _stray_labels(source: NamedSource, paths: Sequence[Path | None], kind: LabelKind) -> list[str]:
    split = source.data_set.split(source.split)
    if kind.label_files is None or split is None or not split.labelled:
        return []
    folder, ending = kind.label_files
    below = folder.format(split=split.name) if "{split}" in folder else f"{folder}/{split.name}"
    known = {str(path) for path in paths}
    there = walk(source.root / below, (ending,), [])
    return [relative_id(path, source.root) for path in there if path not in known]

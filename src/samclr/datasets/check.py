"""The job `samclr data check`: is a copy of a data set whole, and if not, what is missing?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samclr.datasets.catalogue import DataSetSpec, Split
from samclr.datasets.label_maps import LabelError, read_values
from samclr.datasets.layouts import find_class_labels, list_named
from samclr.datasets.names import NamedSource, find_root
from samclr.errors import ScenesError, name_some
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.refs import SceneRef, relative_id, walk

SAMPLE = 20  # images of each split that are decoded and whose label maps are compared in size


@dataclass(frozen=True, kw_only=True)
class SplitCheck:
    """What is there of one split. labels: how many images have their label map, None where the split has none."""

    split: str
    images: int
    expected: int
    labels: int | None
    required: bool
    faults: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """complete, incomplete, or absent for a split that nothing here needs."""
        if not self.images and not self.required:
            return "absent, optional"
        return "incomplete" if self.faults else "complete"


@dataclass(frozen=True, kw_only=True)
class SetCheck:
    """What is there of a set. faults: those of the set as a whole; root: where it was found, if it was."""

    root: Path | None
    splits: tuple[SplitCheck, ...]
    faults: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that is required is there, and nothing that is there is at fault."""
        return not self.faults and all(split.state != "incomplete" for split in self.splits)


def check_set(data_set: DataSetSpec, root: Path | None) -> SetCheck:
    """Compare a copy with the release: files and counts of each split, label maps, and their sizes on a sample.

    Sets of few large files are compared by their MD5 sums.
    """
    try:
        found = find_root(data_set, root)
    except ScenesError as error:
        return SetCheck(root=None, splits=(), faults=(_without_advice(error),))
    splits = tuple(_check_split(data_set, found, split) for split in data_set.splits)
    return SetCheck(root=found, splits=splits, faults=tuple(data_set.faults_of(found, None)))


def _check_split(data_set: DataSetSpec, root: Path, split: Split) -> SplitCheck:
    source = NamedSource(data_set=data_set, split=split.name, root=root)
    facts: dict[str, Any] = {"split": split.name, "expected": split.num_images, "required": split.required}
    faults: list[str] = []
    try:
        refs = list_named(source)
    except ScenesError as error:
        return SplitCheck(**facts, images=0, labels=None, faults=(_without_advice(error),) if split.required else ())
    if len(refs) != split.num_images:
        faults.append(f"{len(refs):,} images, the release has {split.num_images:,}")
    paths = _label_paths(source, refs) if _has_labels(data_set, root, split) else None
    if paths is not None:
        without = [ref.image_id for ref, path in zip(refs, paths, strict=True) if path is None]
        if without:
            faults.append(f"{len(without):,} images have no label map: {name_some(without)}")
        stray = _stray_labels(data_set, root, split, paths)
        if stray:
            faults.append(f"{len(stray):,} label maps belong to no image: {name_some(stray)}")
    faults += data_set.faults_of(root, split.name)
    faults += _check_sample(data_set, refs, paths)
    labels = None if paths is None else sum(path is not None for path in paths)
    return SplitCheck(**facts, images=len(refs), labels=labels, faults=tuple(faults))


def _without_advice(error: ScenesError) -> str:
    """Without the pointer to this very command."""
    return str(error).rsplit("; samclr data check", 1)[0]


def _has_labels(data_set: DataSetSpec, root: Path, split: Split) -> bool:
    if "regions" not in data_set.uses:
        return False
    return split.labelled or (split.labels_in != "" and (root / split.labels_in).is_dir())


def _label_paths(source: NamedSource, refs: Sequence[SceneRef]) -> list[Path | None]:
    if "dense" in source.data_set.uses:
        return find_class_labels(source, [ref.image_id for ref in refs])
    return [None if ref.label is None else Path(ref.label.path) for ref in refs]


def _stray_labels(data_set: DataSetSpec, root: Path, split: Split, paths: Sequence[Path | None]) -> list[str]:
    if data_set.label_files is None or not split.labelled:
        return []
    folder, ending = data_set.label_files
    known = {str(path) for path in paths}
    return [relative_id(p, root) for p in walk(root / folder / split.name, (ending,), []) if p not in known]


def _check_sample(data_set: DataSetSpec, refs: Sequence[SceneRef], paths: Sequence[Path | None] | None) -> list[str]:
    """Decode images spread over the split, and compare their label maps' sizes."""
    faults = []
    for number in np.unique(np.linspace(0, len(refs) - 1, min(SAMPLE, len(refs))).astype(int)).tolist():
        path = None if paths is None else paths[number]
        try:
            shape = load_scene(refs[number]).pixels.shape[:2]
            if path is None:
                continue
            read_values(path, shape, data_set.label_channels)
        except (DecodeError, LabelError) as error:
            faults.append(f"{refs[number].image_id}: {error}")
    return faults

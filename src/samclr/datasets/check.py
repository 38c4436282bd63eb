"""The job `samclr data check`: is a copy of a data set whole, and if not, what is missing?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samclr.datasets.catalogue import DataSetSpec, Split
from samclr.datasets.check_labels import LabelsCheck, check_labels
from samclr.datasets.label_maps import LabelError, read_values
from samclr.datasets.layouts import list_named
from samclr.datasets.names import NamedSource, find_root
from samclr.errors import EvaluationError, ScenesError
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.refs import SceneRef, stem_of

SAMPLE = 20  # images of each split that are decoded and whose labels are compared in size


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
    """Compare a copy with the release: files and counts of each split, labels, and their sizes on a sample.

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
    checked = check_labels(source, split, refs)
    faults += checked.faults
    faults += data_set.faults_of(root, split.name)
    faults += _check_sample(source, refs, checked)
    faults += _check_marks(source, refs)
    return SplitCheck(**facts, images=len(refs), labels=checked.count, faults=tuple(faults))


def _without_advice(error: ScenesError) -> str:
    """Without the pointer to this very command."""
    return str(error).rsplit("; samclr data check", 1)[0]


def _check_sample(source: NamedSource, refs: Sequence[SceneRef], checked: LabelsCheck) -> list[str]:
    """Decode images spread over the split, compare sizes of their label maps and in a JSON, and read their boxes."""
    faults = []
    for number in np.unique(np.linspace(0, len(refs) - 1, min(SAMPLE, len(refs))).astype(int)).tolist():
        image_id = refs[number].image_id
        try:
            height, width = load_scene(refs[number]).pixels.shape[:2]
            stated = checked.sizes_hw.get(image_id, (height, width))
            if stated != (height, width):
                faults.append(
                    f"{image_id}: it is {width}x{height} px upright, in its JSON {stated[1]}x{stated[0]}: one is of "
                    f"another copy, or was turned"
                )
            for those in checked.maps:
                if (path := those.paths[number]) is not None:
                    read_values(path, (height, width), those.num_channels)
            _read_boxes(source, image_id, (height, width))
        except (DecodeError, LabelError, EvaluationError) as error:
            faults.append(f"{image_id}: {error}")
    return faults


def _read_boxes(source: NamedSource, image_id: str, size_hw: tuple[int, int]) -> None:
    """Of a split for detection. Raises EvaluationError where an image's are missing, malformed or another image's."""
    boxes = source.data_set.boxes
    if boxes is not None and source.split in (*boxes.train, boxes.test):
        list(boxes.objects(source.root, source.split, [image_id], [size_hw]))


def _check_marks(source: NamedSource, refs: Sequence[SceneRef]) -> list[str]:
    """Read the classes of all images of a split that has several each."""
    spec = source.data_set.multilabel
    if spec is None or source.split not in (spec.train, spec.test):
        return []
    try:
        spec.marks(source.root, source.split, [stem_of(ref.image_id) for ref in refs])
    except EvaluationError as error:
        return [str(error)]
    return []

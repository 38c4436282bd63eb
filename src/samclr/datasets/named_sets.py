"""Known data sets whose images have classes: which one a folder holds, and its labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samclr.datasets.catalogue import DATASETS, DataSetSpec
from samclr.datasets.class_labels import folder_classes, match_classes
from samclr.datasets.layouts import list_named
from samclr.datasets.names import NamedSource, refuse_split
from samclr.errors import EvaluationError
from samclr.log import say_once
from samclr.scenes.notes import ListingNotes
from samclr.scenes.refs import SceneRef

Labelled = tuple[Sequence[SceneRef], Any]  # images of one split, and labels [n], numbers of classes


def recognise_labelled(folder: Path) -> NamedSource | None:
    """The set whose folder this is, or that alone lies in it under torchvision's name.

    Raises:
        EvaluationError: several do, so a name must be given.
    """
    known = [data_set for data_set in DATASETS.values() if "labelled" in data_set.uses]
    for data_set in known:
        if folder.resolve().name in data_set.folders and (folder / data_set.holds).exists():
            return _source(data_set, folder)
    within = [(one, folder / one.folders[0]) for one in known if (folder / one.folders[0] / one.holds).exists()]
    if len(within) > 1:
        raise EvaluationError(
            f"{folder} holds several sets: type {' or '.join(f'{data_set.name}@{folder}' for data_set, _ in within)}"
        )
    return _source(*within[0]) if within else None


def read_named(source: NamedSource) -> tuple[tuple[str, ...], Labelled, Labelled]:
    """Class names, training and test split of a set.

    Raises:
        EvaluationError: the set has no classes of images, or its files are damaged.
        ScenesError: files of a split are missing.
    """
    data_set, root = source.data_set, source.root
    if "labelled" not in data_set.uses:
        raise EvaluationError(
            f"{data_set.title} has no class for each image; use one of "
            f"{', '.join(one.name for one in DATASETS.values() if 'labelled' in one.uses)}"
        )
    names = ("train", "val") if data_set.split("val") else ("train", "test")
    refuse_split(source, "classification", names[:1], names[1])
    notes = ListingNotes()
    train, test = (list_named(_source(data_set, root, name), notes) for name in names)
    for line in notes.lines():
        say_once(f"{data_set.title}: {line}")
    if data_set.image_classes is not None:
        classes, train_labels, test_labels = data_set.image_classes(root, train, test)
        return classes, (train, train_labels), (test, test_labels)
    stated, others = (
        folder_classes(root / data_set.images / name, [ref.image_id.removeprefix(f"{name}/") for ref in refs])
        for name, refs in zip(names, (train, test), strict=True)
    )
    classes, test_labels = match_classes(stated, others)
    return classes, (train, stated.labels), (test, test_labels)


def _source(data_set: DataSetSpec, root: Path, split: str = "train") -> NamedSource:
    return NamedSource(data_set=data_set, split=split, root=root)

"""CIFAR-10, STL-10 and ImageNette in torchvision's own layouts.

torchvision reads CIFAR-10 (with its MD5 sums) and names ImageNette's classes. Its reader of STL-10 hashes 3.1 GB each
time and loads a split whole, so that set is mapped instead; `samclr data check` compares the sums.
"""

from pathlib import Path

import numpy as np

from samclr.datasets.catalogue import DATA_SETS, DataSet
from samclr.datasets.download import imagenette_size
from samclr.datasets.labelled_split import LabelledSplit
from samclr.datasets.layouts import list_named
from samclr.datasets.names import NamedSource
from samclr.errors import EvaluationError, name_some
from samclr.log import say_once
from samclr.scenes.notes import ListingNotes
from samclr.scenes.refs import SceneRef

CLASS_NAMES_FILE = "class_names.txt"


def recognise_labelled(folder: Path) -> NamedSource | None:
    """The set whose folder this is, or that alone lies in it under torchvision's name.

    Raises:
        EvaluationError: several do, so a name must be given.
    """
    known = [data_set for data_set in DATA_SETS.values() if "labelled" in data_set.uses]
    for data_set in known:
        if folder.resolve().name in data_set.folders and (folder / data_set.holds).exists():
            return _source(data_set, folder)
    within = [(one, folder / one.folders[0]) for one in known if (folder / one.folders[0] / one.holds).exists()]
    if len(within) > 1:
        raise EvaluationError(
            f"{folder} holds several sets: type {' or '.join(f'{data_set.name}@{folder}' for data_set, _ in within)}"
        )
    return _source(*within[0]) if within else None


def read_named(source: NamedSource) -> tuple[tuple[str, ...], LabelledSplit, LabelledSplit]:
    """Class names, training and test split of a set.

    Raises:
        EvaluationError: the set has no classes of images, or its files are damaged.
        ScenesError: files of a split are missing.
    """
    data_set, root = source.data_set, source.root
    if "labelled" not in data_set.uses:
        raise EvaluationError(
            f"{data_set.title} has no class for each image; use one of "
            f"{', '.join(one.name for one in DATA_SETS.values() if 'labelled' in one.uses)}"
        )
    names = ("train", "val") if data_set.split("val") else ("train", "test")
    notes = ListingNotes()
    train, test = (list_named(_source(data_set, root, name), notes) for name in names)
    for line in notes.lines():
        say_once(f"{data_set.title}: {line}")
    if data_set.name == "cifar10":
        return _read_cifar(source, train, test)
    if data_set.name == "stl10":
        listed = root / CLASS_NAMES_FILE
        classes = tuple(listed.read_text().split()) if listed.is_file() else tuple(str(k + 1) for k in range(10))
        splits = [_read_stl(root, name, refs, len(classes)) for name, refs in (("train", train), ("test", test))]
        return classes, splits[0], splits[1]
    return _read_imagenette(source, train, test)


def _source(data_set: DataSet, root: Path, split: str = "train") -> NamedSource:
    return NamedSource(data_set=data_set, split=split, root=root)


def _read_cifar(
    source: NamedSource, train: list[SceneRef], test: list[SceneRef]
) -> tuple[tuple[str, ...], LabelledSplit, LabelledSplit]:
    from torchvision.datasets import CIFAR10

    reader = type("Cifar10", (CIFAR10,), {"base_folder": source.root.resolve().name})
    try:
        read = [reader(source.root.resolve().parent, train=is_train) for is_train in (True, False)]
    except Exception as error:  # a sum that differs, or a batch that cannot be unpickled
        raise _damaged(source, error) from error
    splits = []
    for refs, one in zip((train, test), read, strict=True):
        if len(refs) != len(one.targets):
            raise _damaged(source, ValueError(f"{len(refs)} images, {len(one.targets)} labels"))
        splits.append(LabelledSplit(refs=refs, labels=np.array(one.targets, np.int64)))
    return tuple(read[0].classes), splits[0], splits[1]


def _read_stl(root: Path, split: str, refs: list[SceneRef], num_classes: int) -> LabelledSplit:
    path = root / f"{split}_y.bin"
    if not path.is_file():
        raise EvaluationError(f"STL-10 lacks {path}; samclr data check stl10 --root {root} tells where it is got")
    labels = np.fromfile(path, np.uint8).astype(np.int64) - 1
    if len(labels) != len(refs) or not all(0 <= label < num_classes for label in (labels.min(), labels.max())):
        raise EvaluationError(
            f"{path} has {len(labels)} labels for {len(refs)} images, from {labels.min(initial=255) + 1} to "
            f"{labels.max(initial=-1) + 1}; expected one from 1 to {num_classes} each: "
            f"samclr data check stl10 --root {root} compares the files with the release"
        )
    return LabelledSplit(refs=refs, labels=labels)


def _read_imagenette(
    source: NamedSource, train: list[SceneRef], test: list[SceneRef]
) -> tuple[tuple[str, ...], LabelledSplit, LabelledSplit]:
    from torchvision.datasets import Imagenette

    root, folder = source.root.resolve(), source.data_set.folders[0]
    if root.name != folder:
        raise EvaluationError(f"{root} must be called {folder}, as torchvision has it; rename it or link to it")
    try:
        read = [Imagenette(root.parent, split, size=imagenette_size(source.data_set)) for split in ("train", "val")]
    except (KeyError, FileNotFoundError, RuntimeError) as error:  # KeyError: a folder that is no class of the set
        raise EvaluationError(
            f"{root} has folders that are not ImageNette's, or lacks some ({error}); "
            f"samclr data check {source.data_set.name} --root {root} lists them; a set of your own needs another name"
        ) from error
    ids = read[0].wnids
    if read[1].wnids != ids:
        raise EvaluationError(
            f"{root} has other classes in train than in val: {name_some(sorted({*ids} ^ {*read[1].wnids}))}"
        )
    splits = [
        LabelledSplit(refs=refs, labels=np.array([ids.index(ref.image_id.split("/")[1]) for ref in refs], np.int64))
        for refs in (train, test)
    ]
    return tuple(names[0] for names in read[0].classes), splits[0], splits[1]


def _damaged(source: NamedSource, error: Exception) -> EvaluationError:
    text = str(error).split(". You can")[0]  # torchvision goes on with advice for those who write Python
    return EvaluationError(
        f"{source.root} does not hold the files of {source.data_set.title} as released ({text}); "
        f"samclr data check {source.data_set.name} --root {source.root} names them"
    )

"""Scenes with a class for each pixel, for dense evaluation: of a known data set, or of a folder of one's own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from samclr.datasets.catalogue import DATASETS, IGNORED, DataSetSpec, PixelClasses
from samclr.datasets.label_maps import LabelError, read_values, say_turned
from samclr.datasets.labelled_split import refuse_tested
from samclr.datasets.layouts import find_class_labels, list_named, recognise_in
from samclr.datasets.names import DATA_VARIABLE, NamedSource, as_named, find_root, refuse_split
from samclr.datasets.text_files import read_text
from samclr.errors import EvaluationError, ScenesError, name_some
from samclr.log import say_once
from samclr.scenes.decode import DecodeError, Header, read_header
from samclr.scenes.notes import ListingNotes
from samclr.scenes.refs import SceneRef

OWN_LAYOUT = "images/{train,test}/*, labels/{train,test}/*.png of the same stem (or val for test)"
CLASSES_FILE, NO_CLASS = "classes.txt", "-"
DENSE = "dense tasks"
TRAIN_NAMES, TEST_NAMES = ("train", "training"), ("test", "val", "validation")


@dataclass(frozen=True, kw_only=True)
class LabelledScenes:
    """Scenes and the label map of each.

    Attributes:
        classes: names; class k is called classes[k].
        lookup: from a file's value to its class, IGNORED where it has none; None where values are classes.
        own: of a set of one's own, whose label maps hold nothing but classes.
    """

    refs: Sequence[SceneRef]
    label_paths: Sequence[Path]
    classes: tuple[str, ...]
    lookup: tuple[int, ...] | None
    own: bool = False

    def __len__(self) -> int:
        return len(self.refs)

    def label_map(self, number: int) -> UInt8[np.ndarray, "h w"]:
        """Class numbers of one scene, IGNORED where it is unlabelled.

        Raises:
            EvaluationError: the label map cannot be read, has another size than its image, or an unknown value.
        """
        path, header = self.label_paths[number], _header(self.refs[number])
        if header is not None and header.is_turned_unseen:
            say_turned()
        try:
            values = read_values(path, None if header is None else (header.height, header.width))
        except LabelError as error:
            raise EvaluationError(f"{error} ({path})") from None
        known = len(self.classes) if self.lookup is None else len(self.lookup)
        table = np.full(max(1 + IGNORED, known), IGNORED, np.int64)
        table[:known] = range(known) if self.lookup is None else self.lookup
        largest = int(values[values != IGNORED].max(initial=0))
        if largest >= known:
            raise EvaluationError(
                f"label map {path} has the value {largest}; expected 0 to {known - 1}, or {IGNORED} for unlabelled"
            )
        return table[values].astype(np.uint8)


def open_labelled_scenes(name_or_path: Path) -> tuple[LabelledScenes, LabelledScenes]:
    """The training and the test scenes of a set (its validation scenes, where its test labels are not public).

    `name_or_path` is a root, NAME@ROOT, or a name that is looked up in the folder that $SAMCLR_DATA names.

    Raises:
        EvaluationError: there is no such set, it has no classes, a split is missing, or images lack their label maps.
    """
    try:
        data_set, root, own, asked = _find(name_or_path)
        splits = [_train_and_test(data_set, root, names, own is not None, asked) for names in (TRAIN_NAMES, TEST_NAMES)]
        train, test = (_open_split(split, own) for split in splits)
        refuse_tested(splits[0], splits[0].split, train.refs, splits[1].split, test.refs)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None
    return train, test


def open_validation_scenes(name_or_path: Path) -> LabelledScenes | None:
    """The validation split of a set, where it has one with labels that is not what `open_labelled_scenes` tests on.

    Raises:
        EvaluationError: as `open_labelled_scenes`.
    """
    try:
        data_set, root, own, _ = _find(name_or_path)
        test = _train_and_test(data_set, root, TEST_NAMES, own is not None)
        named = (one for name in TEST_NAMES[1:] if (one := data_set.split(name)) is not None and one.labelled)
        split = next((one.name for one in named if (root / data_set.images / one.name).is_dir()), None)
        if split is None or split == test.split:
            return None
        return _open_split(replace(test, split=split), own)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None


def _find(name_or_path: Path) -> tuple[DataSetSpec, Path, PixelClasses | None, NamedSource | None]:
    """The set whose layout it has, its root, the classes that a classes.txt names, and a source with a split."""
    named, asked = as_named(name_or_path), None
    if named is not None:
        data_set, root, asked = named.data_set, named.root, named if named.is_stated else None
    else:
        variable = os.environ.get(DATA_VARIABLE)
        path = name_or_path if name_or_path.is_dir() or variable is None else Path(variable) / name_or_path
        if not path.is_dir():
            raise EvaluationError(
                f"no labelled scenes at {name_or_path}{f' or {path}' if path != name_or_path else ''}: expected a root "
                f"of {_dense_names()}; a name is looked up in the folder that ${DATA_VARIABLE} names"
            )
        found = recognise_in(path, lambda one: one.pixel_classes)
        if found is None:
            raise EvaluationError(
                f"{path} has no known layout: expected a root of {_dense_names()}, or images/ and labels/ with "
                f"the splits train and test (or val) and a {CLASSES_FILE}; "
                f"found {name_some(sorted(os.listdir(path))) or 'nothing'}"
            )
        data_set, root = found[0], find_root(*found)
        if data_set.own_layout and root.resolve().name not in data_set.folders and not (root / CLASSES_FILE).is_file():
            say_once(f"{root} has no {CLASSES_FILE}: its labels are taken for those of {data_set.title}")
    if data_set.pixel_classes is None:
        raise EvaluationError(f"{data_set.title} has no pixel classes to evaluate; use {_dense_names()} instead")
    listed = root / CLASSES_FILE
    if not data_set.own_layout or not listed.is_file():
        return data_set, root, None, asked
    own = replace(data_set, title=f"the set {root.name}", layout=OWN_LAYOUT, got_at="")
    return own, root, _own_classes(listed), asked


def _own_classes(file: Path) -> PixelClasses:
    """The classes of a set of one's own: line k names the class of the value k - 1, or is NO_CLASS."""
    lines = [line.strip() for line in read_text(file).rstrip().split("\n")]
    names = tuple(name for name in lines if name not in ("", NO_CLASS))
    if not names or len(lines) > IGNORED:
        raise EvaluationError(f"{file} names {len(names)} classes; expected one a line, 1 to {IGNORED} of them")
    if "" in lines:
        raise EvaluationError(
            f"{file}: line {lines.index('') + 1} is empty; expected the name of the class of the value "
            f"{lines.index('')}, or {NO_CLASS} where its pixels are ignored"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise EvaluationError(f"{file} names {twice[0]} twice; expected each class once")
    numbers = iter(range(len(names)))
    return PixelClasses(names=names, lookup=tuple(IGNORED if name == NO_CLASS else next(numbers) for name in lines))


def _train_and_test(
    data_set: DataSetSpec, root: Path, names: tuple[str, ...], own: bool, asked: NamedSource | None = None
) -> NamedSource:
    """The first split of those names that has public labels; of a set of one's own, the first that is there.

    asked: with the split that was stated, which a set with several to train on is trained on.
    """
    if data_set.dense_splits is not None:
        trained, tested = data_set.dense_splits
        if asked is not None:
            refuse_split(asked, DENSE, trained, tested)
        train = trained[0] if asked is None else asked.split
        return NamedSource(data_set=data_set, split=tested if names == TEST_NAMES else train, root=root)
    wanted = [found.name for name in names if (found := data_set.split(name)) is not None and found.labelled]
    if not wanted:
        raise EvaluationError(
            f"{data_set.title} has no split for dense tasks among {' and '.join(names)}: its labelled splits are "
            f"{name_some([one.name for one in data_set.splits if one.labelled]) or 'none'}; state which are trained on "
            f"and measured on in the field dense_splits of its DataSetSpec"
        )
    present = [name for name in wanted if (root / data_set.images / name).is_dir()]
    if asked is not None and names == TRAIN_NAMES:
        tested = _train_and_test(data_set, root, TEST_NAMES, own).split
        refuse_split(asked, DENSE, wanted[:1], tested)
    return NamedSource(data_set=data_set, split=(present if own and present else wanted)[0], root=root)


def _open_split(split: NamedSource, own: PixelClasses | None) -> LabelledScenes:
    notes = ListingNotes()
    refs = list_named(split, notes)
    for line in notes.lines():
        say_once(f"{split.data_set.title}, split {split.split}: {line}")
    paths = find_class_labels(split, [ref.image_id for ref in refs])
    without = [ref.image_id for ref, path in zip(refs, paths, strict=True) if path is None]
    if without:
        known = f"samclr data check {split.data_set.name} --root {split.root} lists what is missing"
        advice = known if own is None else f"expected {OWN_LAYOUT}"
        raise EvaluationError(
            f"{len(without)} of {len(refs)} images of {split.data_set.title}, split {split.split}, have no label map: "
            f"{name_some(without)}; {advice}"
        )
    assert split.data_set.pixel_classes is not None
    found = own or split.data_set.pixel_classes(split.root)
    return LabelledScenes(
        refs=refs,
        label_paths=[path for path in paths if path is not None],
        classes=found.names,
        lookup=None if own is not None and IGNORED not in own.lookup else found.lookup,  # as fingerprints have it
        own=own is not None,
    )


def _header(ref: SceneRef) -> Header | None:
    """None for an image that only decoding can judge."""
    try:
        return read_header(Path(ref.path))
    except DecodeError:  # a broken image is its reader's error, not its label map's
        return None


def _dense_names() -> str:
    return ", ".join(name for name, data_set in DATASETS.items() if "dense" in data_set.uses)

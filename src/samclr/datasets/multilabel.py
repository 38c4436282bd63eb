"""Sets with several classes an image: a data set by name, or a folder of one's own with a labels.csv.

One's own: `labels.csv` beside train/ and test/ (or val/), in UTF-8, with a header `image,CLASS,CLASS,...` and a row for
each image: its path below the folder, then for each class 1 (the image has it), 0 (it has not), or nothing (it does not
count for the class, as what is difficult in VOC).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from samclr.datasets.catalogue import DATASETS
from samclr.datasets.labelled import TEST_NAMES, TRAIN_NAMES, download_named, folder_of
from samclr.datasets.labelled_split import ImageSplit, refuse_tested
from samclr.datasets.layouts import list_named, recognise_in
from samclr.datasets.names import DATA_VARIABLE, NamedSource, as_named, find_root, refuse_split
from samclr.datasets.sources import list_scenes
from samclr.datasets.text_files import read_rows
from samclr.errors import EvaluationError, ScenesError, name_some
from samclr.log import say_once
from samclr.scenes.refs import SceneRef, stem_of

LABELS_FILE, IMAGE_COLUMN = "labels.csv", "image"
HAS, LACKS, NOT_COUNTED = 1, -1, 0
CELLS = {"1": HAS, "0": LACKS, "": NOT_COUNTED}
MAX_CLASSES = 10_000


@dataclass(frozen=True, kw_only=True)
class MultilabelSplit(ImageSplit):
    """Images with several classes each. labels: [n c] 1 where an image has the class, -1 where it has not, 0 where it
    does not count for the class."""

    labels: Int[np.ndarray, "n c"]


@dataclass(frozen=True, kw_only=True)
class MultilabelSet:
    """A training and a test split over the same classes."""

    name: str
    classes: tuple[str, ...]
    train: MultilabelSplit
    test: MultilabelSplit


def open_multilabel(name_or_path: Path, download: bool = False) -> MultilabelSet:
    """Open a set with several classes an image: NAME@ROOT, its root, a folder of one's own, or a name in $SAMCLR_DATA.

    Raises:
        EvaluationError: no such set, a missing split, labels that are missing, doubled or odd; or it cannot be
            downloaded.
    """
    try:
        if download:
            download_named(name_or_path)
        path = folder_of(name_or_path)
        if path is not None and (path / LABELS_FILE).is_file():
            return _open_own(path)
        named = as_named(name_or_path) if path is None else _recognised(path)
        if named is None:
            raise EvaluationError(
                f"no set with several classes an image at {name_or_path}: expected {_names()} as NAME@ROOT, or a "
                f"folder with train/, test/ and a {LABELS_FILE}; a name is looked up in the folder that "
                f"${DATA_VARIABLE} names"
            )
        return _open_named(named)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None


def _names() -> str:
    return " or ".join(name for name, one in DATASETS.items() if one.multilabel is not None)


def _recognised(path: Path) -> NamedSource | None:
    """The set whose root a folder is, or that lies in it under its own name."""
    found = recognise_in(path, lambda one: one.multilabel)
    if found is None:
        return None
    data_set, place = found
    return NamedSource(data_set=data_set, split=data_set.scene_split, root=find_root(data_set, place))


def _open_named(named: NamedSource) -> MultilabelSet:
    data_set, root, spec = named.data_set, named.root, named.data_set.multilabel
    if spec is None:
        raise EvaluationError(f"{data_set.title} does not say several classes of an image; use {_names()}")
    refuse_split(named, "classification with several classes", (spec.train,), spec.test)
    splits = []
    for name in (spec.train, spec.test):
        refs = list_named(NamedSource(data_set=data_set, split=name, root=root))
        classes, marks = spec.marks(root, name, [stem_of(ref.image_id) for ref in refs])
        splits.append(MultilabelSplit(refs=refs, labels=marks))
    refuse_tested(named, spec.train, splits[0].refs, spec.test, splits[1].refs)
    return MultilabelSet(name=data_set.name, classes=tuple(classes), train=splits[0], test=splits[1])


# ---- one's own ----


def _open_own(path: Path) -> MultilabelSet:
    classes, rows = _read_labels(path / LABELS_FILE)
    taken: dict[str, MultilabelSplit] = {}
    for names in (TRAIN_NAMES, TEST_NAMES):
        there = [name for name in names if (path / name).is_dir()]
        if not there:
            raise EvaluationError(f"{path} has no {names[0]} split: expected a folder {names[0]}/ beside {LABELS_FILE}")
        if len(there) > 1:
            say_once(f"{path} has several splits to choose from: {there[0]} is taken, not {name_some(there[1:])}")
        taken[there[0]] = _own_split(path, there[0], rows)
    known = {f"{name}/{ref.image_id}" for name, split in taken.items() for ref in split.refs}
    splits = {name for name in (*TRAIN_NAMES, *TEST_NAMES) if (path / name).is_dir()} - taken.keys()
    stray = [name for name in rows if name not in known and name.split("/")[0] not in splits]
    if stray:
        raise EvaluationError(
            f"{path / LABELS_FILE} has {len(stray):,} rows without an image in {path}: {name_some(stray)}; "
            f"remove the rows, or restore the images"
        )
    train, test = taken.values()
    return MultilabelSet(name=path.resolve().name, classes=classes, train=train, test=test)


def _own_split(path: Path, name: str, rows: dict[str, list[int]]) -> MultilabelSplit:
    refs: list[SceneRef] = list(list_scenes([path / name]))
    if not refs:
        raise EvaluationError(f"{path / name} has no images")
    without = [ref.image_id for ref in refs if f"{name}/{ref.image_id}" not in rows]
    if without:
        raise EvaluationError(
            f"{path / LABELS_FILE} has no row for {len(without):,} images of {name}/: {name_some(without)}; "
            f"the column {IMAGE_COLUMN} holds paths below {path}, such as {name}/{without[0]}"
        )
    return MultilabelSplit(refs=refs, labels=np.array([rows[f"{name}/{ref.image_id}"] for ref in refs], np.int64))


def _read_labels(file: Path) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Names of classes, and the marks of each image by its path."""
    lines = [line for line in read_rows(file) if line]
    head = [name.strip() for name in lines[0]] if lines else []
    classes = tuple(head[1:])
    if not classes or head[0] != IMAGE_COLUMN or not all(classes):
        raise EvaluationError(f"{file} begins with {','.join(head)!r}; expected {IMAGE_COLUMN},CLASS,CLASS,...")
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise EvaluationError(f"{file} has the class {twice[0]} in several columns; rename one")
    if len(classes) > MAX_CLASSES:
        raise EvaluationError(f"{file} has {len(classes):,} classes; expected at most {MAX_CLASSES:,}")
    rows: dict[str, list[int]] = {}
    for number, line in enumerate(lines[1:], 2):
        cells = [cell.strip() for cell in line]
        odd = next((cell for cell in cells[1:] if cell not in CELLS), None)
        if len(cells) != len(head) or odd is not None:
            what = f"the label {odd!r}" if odd is not None else f"{len(cells)} cells"
            raise EvaluationError(f"{file}, row {number}: {what}; expected {len(head)} cells, labels 1, 0 or nothing")
        name = cells[0].replace("\\", "/").removeprefix("./")
        if name in rows:
            raise EvaluationError(f"{file}, row {number}: {name} has a row already; keep one")
        rows[name] = [CELLS[cell] for cell in cells[1:]]
    return classes, rows

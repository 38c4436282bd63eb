"""Labelled sets: an image folder (ROOT/train/CLASS/*, ROOT/test/CLASS/*), Parquet, or one of torchvision's layouts."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from samclr.datasets.class_labels import (
    SYSTEM_FOLDERS,
    SplitClasses,
    class_of,
    folder_classes,
    match_classes,
    read_parquet_classes,
)
from samclr.datasets.download import download as download_set
from samclr.datasets.labelled_split import LabelledSplit
from samclr.datasets.named_sets import read_named, recognise_labelled
from samclr.datasets.names import DATA_VARIABLE, NamedSource, as_named, parse_named
from samclr.datasets.sources import list_scenes
from samclr.errors import EvaluationError, ScenesError, name_some
from samclr.log import say_once
from samclr.scenes.notes import ListingNotes
from samclr.scenes.parquet import choose_column
from samclr.scenes.refs import SceneRef

TRAIN_NAMES, TEST_NAMES = ("train", "training"), ("test", "val", "valid", "validation")


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A training and a test split over the same classes."""

    name: str
    classes: tuple[str, ...]
    train: LabelledSplit
    test: LabelledSplit


def open_labelled(name_or_path: Path, download: bool = False, image_column: str | None = None) -> LabelledSet:
    """Open a labelled set: a folder, NAME@ROOT, or a name that is looked up in the folder that $SAMCLR_DATA names.

    `download` fetches a set that can be fetched into ROOT (or $SAMCLR_DATA) first, if it is not there.
    `image_column` is that of Parquet files which holds the images, by default as `parquet.choose_column` has it.

    Raises:
        EvaluationError: no such set, a missing split, damaged files, rows without labels, or test images of
            classes that the training split lacks; or it cannot be downloaded.
    """
    try:
        if download:
            download_named(name_or_path)
        path = folder_of(name_or_path)
        named = as_named(name_or_path) if path is None else recognise_labelled(path)
        if named is not None:
            return _open_named(named)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None
    if path is None:
        raise _no_set(name_or_path)
    entries = sorted(os.listdir(path))
    parquet = [name for name in entries if name.endswith(".parquet")]
    if parquet:
        train, test = (_split_files(path, parquet, names) for names in (TRAIN_NAMES, TEST_NAMES))
        read = [_read_parquet(files, image_column) for files in (train, test)]
    else:
        read = [_read_folder(_split_folder(path, entries, names)) for names in (TRAIN_NAMES, TEST_NAMES)]
    (train_refs, stated), (test_refs, others) = read
    classes, test_labels = match_classes(stated, others)
    return LabelledSet(
        name=path.resolve().name,
        classes=classes,
        train=LabelledSplit(refs=train_refs, labels=stated.labels),
        test=LabelledSplit(refs=test_refs, labels=test_labels),
    )


def refuse_missing_set(name_or_path: Path) -> None:
    """Raise EvaluationError if there is no folder or known set of this name; what it holds is not looked at."""
    try:
        if folder_of(name_or_path) is None and as_named(name_or_path) is None:
            raise _no_set(name_or_path)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None


def _no_set(name_or_path: Path) -> EvaluationError:
    return EvaluationError(
        f"no labelled set at {name_or_path}: expected a folder with train/ and test/ (or val/) of class folders, "
        f"or with train*.parquet and test*.parquet, or a set as NAME@ROOT (samclr data list); "
        f"a name is looked up in the folder that ${DATA_VARIABLE} names"
    )


def folder_of(name_or_path: Path) -> Path | None:
    """The folder that is meant, as given or in $SAMCLR_DATA; None if there is none."""
    variable = os.environ.get(DATA_VARIABLE)
    candidates = [name_or_path] if variable is None else [name_or_path, Path(variable) / name_or_path]
    return next((path for path in candidates if path.is_dir()), None)


def download_named(name_or_path: Path) -> None:
    """Fetch a set given as NAME@ROOT, or by a name alone into $SAMCLR_DATA, unless it is there.

    Raises:
        EvaluationError: it names no set, or no folder. ScenesError: it cannot be fetched.
    """
    parsed = parse_named(name_or_path)
    if parsed is None:
        raise EvaluationError(
            f"{name_or_path} is not a set that can be downloaded; type NAME@ROOT, such as cifar10@data"
        )
    data_set, _, root = parsed
    if root is None and DATA_VARIABLE not in os.environ:
        raise EvaluationError(
            f"no folder to download {data_set.name} to: type {data_set.name}@DIR, or set ${DATA_VARIABLE}"
        )
    download_set(data_set, root or Path(os.environ[DATA_VARIABLE]))


def _open_named(source: NamedSource) -> LabelledSet:
    classes, train, test = read_named(source)
    return LabelledSet(
        name=source.data_set.name,
        classes=classes,
        train=LabelledSplit(refs=train[0], labels=train[1]),
        test=LabelledSplit(refs=test[0], labels=test[1]),
    )


def _split_files(path: Path, files: list[str], names: tuple[str, ...]) -> list[Path]:
    there = [name for name in names if any(file.startswith(name) for file in files)]
    if there:
        _say_others(path, there)
        return [path / file for file in files if file.startswith(there[0])]
    raise EvaluationError(f"{path} has no {names[0]} split: expected {names[0]}*.parquet; found {name_some(files)}")


def _split_folder(path: Path, entries: list[str], names: tuple[str, ...]) -> Path:
    there = [name for name in names if (path / name).is_dir()]
    if there:
        _say_others(path, there)
        return path / there[0]
    raise EvaluationError(f"{path} has no {names[0]} split: expected a folder {names[0]}/; found {name_some(entries)}")


def _say_others(path: Path, there: list[str]) -> None:
    """Of test and val, say, one is measured. `train` is the beginning of `training`, which is no other split."""
    others = [name for name in there[1:] if not name.startswith(there[0]) and not there[0].startswith(name)]
    if others:
        say_once(f"{path} has several splits to choose from: {there[0]} is taken, not {name_some(others)}")


def _read_parquet(files: list[Path], image_column: str | None) -> tuple[list[SceneRef], SplitClasses]:
    classes, rows = read_parquet_classes(files)
    refs: list[SceneRef] = []
    notes = ListingNotes()
    for file, num_rows in zip(files, rows, strict=True):
        try:
            images = choose_column(str(file), file.stat().st_mtime_ns, image_column)
        except (OSError, ValueError, ScenesError, pa.ArrowException) as error:
            raise EvaluationError(f"cannot read {file}: {error}") from None
        notes.take_column(file.name, images.name, images.others, num_rows)
        one = SceneRef(image_id=file.name, path=str(file), column=images.name)
        refs += [replace(one, image_id=f"{file.name}#{row}", row=row) for row in range(num_rows)]
    for line in notes.lines():
        say_once(line)
    return refs, classes


def _read_folder(folder: Path) -> tuple[list[SceneRef], SplitClasses]:
    listed = list_scenes([folder])
    refs = [ref for ref in listed if "/" in ref.image_id and class_of(ref.image_id) not in SYSTEM_FOLDERS]
    loose = [ref.image_id for ref in listed if "/" not in ref.image_id]
    if not refs:
        raise EvaluationError(f"{folder} has no class folders with images; expected {folder}/CLASS/image.jpg")
    if loose:
        say_once(f"{folder}: {len(loose):,} images outside class folders are skipped: {name_some(loose)}")
    return refs, folder_classes(folder, [ref.image_id for ref in refs])

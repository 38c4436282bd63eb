"""Classes of two splits, matched by name: what Parquet files and folders say of their labels, and what must agree."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int

from samclr.errors import EvaluationError, name_some
from samclr.log import say_once
from samclr.scenes.parquet import features_of
from samclr.storage.files import regular

LABEL_COLUMNS = ("label", "labels", "class", "fine_label", "target")
MAX_CLASSES = 100_000  # a larger number of classes is a column of something else


@dataclass(frozen=True, kw_only=True)
class SplitClasses:
    """The classes of one split's images.

    Attributes:
        place: the split, for messages.
        names: the classes that the split states, in its own order.
        labels: [n] numbers into `names`.
        are_numbers: the names are bare numbers, which a file without names for its classes has.
    """

    place: str
    names: tuple[str, ...]
    labels: Int[np.ndarray, "n"]
    are_numbers: bool = False

    def counts(self) -> dict[str, int]:
        """Images of each class that has any."""
        found = np.bincount(self.labels, minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names, found, strict=True) if count}


def match_classes(train: SplitClasses, test: SplitClasses) -> tuple[tuple[str, ...], Int[np.ndarray, "m"]]:
    """The classes, which are the training split's, and the test split's labels [m] in their numbering.

    Says which classes have no test image.

    Raises:
        EvaluationError: one split names its classes and the other has numbers; the test split has images of classes
            that the training split has none of; or there are more than MAX_CLASSES.
    """
    if train.are_numbers != test.are_numbers:
        bare, named = (train, test) if train.are_numbers else (test, train)
        raise EvaluationError(
            f"{bare.place} has labels without names, {named.place} names its classes ({name_some(list(named.names))}): "
            f"they cannot be matched; write both with the same ClassLabel names, or both without"
        )
    if len(train.names) > MAX_CLASSES:
        raise EvaluationError(
            f"{train.place} has {len(train.names):,} classes; expected at most {MAX_CLASSES:,}: are its labels classes?"
        )
    trained, tested = train.counts(), test.counts()
    unknown = {name: count for name, count in tested.items() if name not in trained}
    if unknown:
        listed = [f"{name} ({count:,}{_near(name, trained)})" for name, count in unknown.items()]
        raise EvaluationError(
            f"{test.place} has {sum(unknown.values()):,} images of {len(unknown)} classes that the training split "
            f"lacks: {name_some(listed)}; {train.place} has {name_some(list(trained))}"
        )
    without = [name for name in trained if name not in tested]
    if without:
        say_once(f"{test.place} has no image of {len(without)} of {len(trained)} classes: {name_some(without)}")
    numbers = {name: number for number, name in enumerate(train.names)}
    own = np.array([numbers.get(name, -1) for name in test.names], np.int64)
    return train.names, own[test.labels]


def _near(name: str, known: dict[str, int]) -> str:
    """Another spelling of a name, in case or in accents composed or not."""
    near = next((other for other in known if alike(other) == alike(name)), None)
    return "" if near is None else f"; the training split spells it {near}"


def alike(name: str) -> str:
    """Equal for names that differ in case, or in composed and decomposed accents, alone."""
    return unicodedata.normalize("NFC", name).casefold()


def say_alike(names: Sequence[str], where: str) -> None:
    """Say which classes differ in case or accents alone: they are kept apart."""
    spelt: dict[str, list[str]] = {}
    for name in names:
        spelt.setdefault(alike(name), []).append(name)
    twins = [" and ".join(group) for group in spelt.values() if len(group) > 1]
    if twins:
        say_once(f"{where} has classes whose names differ in case or accents alone, kept apart: {name_some(twins)}")


# ---- Parquet ----


def read_parquet_classes(files: Sequence[Path]) -> tuple[SplitClasses, list[int]]:
    """The classes of a split's files, and the rows of each.

    A column of whole numbers, with the names that Hugging Face's datasets wrote into the schema (a file's own, as
    files may differ in their order), or a column of names. Memory grows with rows and distinct classes alone.

    Raises:
        EvaluationError: no such column, rows without a label (null or negative), numbers beyond the names, or files
            of one split of which only some name their classes.
    """
    parts = [_read_file(file) for file in files]
    place = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    if len({part.are_numbers for part in parts}) > 1:
        bare, named = (next(part.place for part in parts if part.are_numbers is kind) for kind in (True, False))
        raise EvaluationError(f"{named} names its classes and {bare} does not; write all files of a split alike")
    if parts[0].are_numbers:
        names = [str(number) for number in sorted({int(name) for part in parts for name in part.names})]
    else:
        stated = [part.names for part in parts]
        names = (
            list(stated[0]) if len(set(stated)) == 1 else list(dict.fromkeys(name for one in stated for name in one))
        )
    numbers = {name: number for number, name in enumerate(names)}
    labels = [np.array([numbers[name] for name in part.names], np.int64)[part.labels] for part in parts]
    joined = np.concatenate(labels)
    if not len(joined):
        raise EvaluationError(f"{place} has no rows; expected images with labels")
    found = SplitClasses(place=place, names=tuple(names), labels=joined, are_numbers=parts[0].are_numbers)
    return found, [len(one) for one in labels]


def _read_file(file: Path) -> SplitClasses:
    try:
        schema = pq.read_schema(regular(file))
        column, names = _label_column(file, schema)
        values = pq.read_table(file, columns=[column]).column(0)
        if pa.types.is_dictionary(values.type):
            values = pc.cast(values, values.type.value_type)
        if pa.types.is_integer(values.type):
            values = pc.cast(values, pa.int64())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise EvaluationError(f"cannot read {file}: {error}") from None
    whole = pa.types.is_integer(values.type)
    missing = values.null_count + (pc.sum(pc.less(values, 0)).as_py() or 0 if whole else 0)
    if missing:
        raise EvaluationError(
            f"{file} has {missing:,} of {len(values):,} rows without a label in {column} (null or negative); "
            f"remove them, or name a split whose labels are public"
        )
    if names is None:
        encoded = pc.dictionary_encode(values).combine_chunks()
        distinct = encoded.dictionary if isinstance(encoded, pa.DictionaryArray) else pa.array([], values.type)
        order = pc.array_sort_indices(distinct).to_numpy() if len(distinct) else np.zeros(0, np.int64)
        place_of = np.empty(len(order), np.int64)
        place_of[order] = np.arange(len(order))
        codes = encoded.indices.to_numpy(zero_copy_only=False) if len(distinct) else np.zeros(0, np.int64)
        stated = tuple(str(distinct[int(k)].as_py()) for k in order)
        return SplitClasses(place=str(file), names=stated, labels=place_of[codes], are_numbers=whole)
    labels = values.to_numpy().astype(np.int64)
    if len(labels) and labels.max() >= len(names):
        raise EvaluationError(
            f"{file} has the label {labels.max()} in {column}, and names {len(names)} classes; expected 0 to "
            f"{len(names) - 1}"
        )
    return SplitClasses(place=str(file), names=names, labels=labels)


def _label_column(file: Path, schema: pa.Schema) -> tuple[str, tuple[str, ...] | None]:
    """The column of labels, and the names of its classes where the file states them."""
    column = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    kind = None if column is None else schema.field(column).type
    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = kind is not None and (pa.types.is_string(kind) or pa.types.is_large_string(kind))
    if column is None or kind is None or not (is_text or pa.types.is_integer(kind)):
        raise EvaluationError(
            f"{file} has no label column: expected whole numbers or names of classes in {' or '.join(LABEL_COLUMNS)}; "
            f"found {', '.join(schema.names)}"
        )
    feature = features_of(schema.metadata).get(column)
    names = feature.get("names") if isinstance(feature, dict) and not is_text else None
    if isinstance(names, dict):  # as older versions of datasets wrote lists: {"0": "cat", "1": "dog"}
        names = [names.get(str(number)) for number in range(len(names))]
    if names is None:
        return column, None
    twice = (
        [str(name) for name, count in Counter(map(str, names)).items() if count > 1] if isinstance(names, list) else []
    )
    if not isinstance(names, list) or twice or not all(isinstance(name, str) for name in names):
        what = f"{name_some(twice)} twice" if twice else repr(names)[:80]
        raise EvaluationError(f"{file} names the classes of {column} by {what}; expected a list of different names")
    return column, tuple(names)


# ---- folders ----

SYSTEM_FOLDERS = ("__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")


def class_of(image_id: str) -> str:
    """The folder of an image in a split's folder."""
    return image_id.split("/")[0]


def folder_classes(folder: Path, image_ids: Sequence[str]) -> SplitClasses:
    """The classes of a split's images, which are the names of its folders that hold any.

    Says which folders are not classes: hidden ones, those of operating systems, and empty ones.
    """
    counts = Counter(map(class_of, image_ids))
    names = tuple(sorted(counts))
    folders = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    passed = [name for name in folders if name not in counts]
    if passed:
        say_once(f"{folder}: skipped folders that hold no images or belong to the system: {name_some(passed, 8)}")
    say_alike(names, str(folder))
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[class_of(image_id)] for image_id in image_ids], np.int64)
    return SplitClasses(place=str(folder), names=names, labels=labels)

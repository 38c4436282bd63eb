import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.scenes import write_labelled

from samclr.datasets.labelled import open_labelled
from samclr.errors import EvaluationError
from samclr.evaluation.protocols.answers import class_details
from samclr.evaluation.squares import decode_square


def test_class_folders_become_numbers(tmp_path):
    found = open_labelled(write_labelled(tmp_path / "set"))
    assert found.classes == ("dark", "light")
    for split in (found.train, found.test):
        assert np.bincount(split.labels).tolist() == [6, 6]
        assert all(
            ref.image_id.split("/")[0] == found.classes[n] for ref, n in zip(split.refs, split.labels, strict=True)
        )


def test_a_name_is_looked_up_in_the_data_folder(tmp_path, monkeypatch):
    write_labelled(tmp_path / "data" / "shades")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvaluationError, match=r"no labelled set at shades: .*a name is looked up .* \$SAMCLR_DATA"):
        open_labelled(Path("shades"))
    monkeypatch.setenv("SAMCLR_DATA", str(tmp_path / "data"))
    assert open_labelled(Path("shades")).name == "shades"


def test_parquet_sets_are_read_with_their_labels(tmp_path):
    write_labelled(tmp_path / "folders")
    source = open_labelled(tmp_path / "folders")
    (tmp_path / "set").mkdir()
    for name, split in (("train-0", source.train), ("test-0", source.test)):
        images = [{"bytes": Path(ref.path).read_bytes(), "path": None} for ref in split.refs]
        pq.write_table(pa.table({"img": images, "label": split.labels}), tmp_path / "set" / f"{name}.parquet")
    found = open_labelled(tmp_path / "set")
    assert (found.train.labels == source.train.labels).all()
    assert found.train.fingerprint == source.train.fingerprint
    ours, theirs = (decode_square(split.refs, 16, 2) for split in (found.test, source.test))
    assert (ours == theirs).all()


def test_rows_without_an_image_are_named(tmp_path):
    write_labelled(tmp_path / "folders")
    images = [{"bytes": (tmp_path / "folders/train/dark/0.png").read_bytes(), "path": None}, None]
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / f"{split}.parquet")
    with pytest.raises(EvaluationError, match=r"1 of the labelled images cannot be read: train.parquet#1 \(.*no image"):
        _ = open_labelled(tmp_path).train.fingerprint


def test_subsets_are_the_same_each_time_and_change_the_fingerprint(tmp_path):
    train = open_labelled(write_labelled(tmp_path / "set")).train
    first, again = train.subset(5), train.subset(5)
    assert [ref.image_id for ref in first.refs] == [ref.image_id for ref in again.refs]
    assert len(first.refs) == 5
    assert first.fingerprint != train.fingerprint
    assert train.subset(99) is train


def test_squares_are_centred(tmp_path):
    Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[None], 20, 0)).save(tmp_path / "wide.png")
    from samclr.datasets.sources import list_scenes

    (square,) = decode_square(list_scenes([tmp_path]), 20, 1)
    assert square.shape == (3, 20, 20)
    assert square[0, 0].tolist() == list(range(10, 30))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda p: os.rename(p / "test", p / "other"),
            r"has no test split: expected a folder test/; found other, train",
        ),
        (
            lambda p: os.rename(p / "test/dark", p / "test/dim"),
            r"6 images of 1 classes .* lacks: dim \(6\); .*train has dark, light",
        ),
        (lambda p: (p / "train.parquet").write_bytes(b"x"), r"has no test split: expected test\*\.parquet"),
    ],
)
def test_what_is_missing_is_named(tmp_path, harm, message):
    harm(write_labelled(tmp_path / "set"))
    with pytest.raises(EvaluationError, match=message):
        open_labelled(tmp_path / "set")


def test_a_broken_labelled_image_is_an_error(tmp_path):
    folder = write_labelled(tmp_path / "set")
    (folder / "test/dark/0.png").write_bytes(b"")
    found = open_labelled(folder)
    with pytest.raises(
        EvaluationError, match=r"1 of the labelled images cannot be read: dark/0.png \(the file is empty\)"
    ):
        decode_square(found.test.refs, 16, 2)


def write_rows(folder, split, labels, names=None, column="label", file=None):
    """A Parquet split: labels of any type, with the names of its classes as Hugging Face writes them."""
    folder.mkdir(exist_ok=True)
    pixels = [np.full((8, 8, 3), k % 256, np.uint8) for k in range(len(labels))]
    buffers = [io.BytesIO() for _ in pixels]
    for pixel, buffer in zip(pixels, buffers, strict=True):
        Image.fromarray(pixel).save(buffer, "PNG")
    images = pa.array([{"bytes": buffer.getvalue(), "path": None} for buffer in buffers])
    table = pa.table({"image": images, column: labels})
    if names is not None:
        features = {"info": {"features": {column: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, folder / f"{file or split}.parquet")


def named(split, classes):
    return [classes[label] for label in split.labels]


def test_classes_in_another_order_are_matched_by_name(tmp_path):
    write_rows(tmp_path, "train", [0, 1, 2, 0], ["cat", "dog", "bird"])
    write_rows(tmp_path, "test", [0, 1, 2], ["bird", "cat", "dog"])
    found = open_labelled(tmp_path)
    assert found.classes == ("cat", "dog", "bird")
    assert named(found.test, found.classes) == ["bird", "cat", "dog"]
    assert found.train.labels.tolist() == [0, 1, 2, 0]


def test_files_of_one_split_may_order_their_names_differently(tmp_path):
    write_rows(tmp_path, "train", [0, 1], ["cat", "dog"], file="train-0")
    write_rows(tmp_path, "train", [0, 1], ["dog", "cat"], file="train-1")
    write_rows(tmp_path, "test", ["dog", "cat"])
    found = open_labelled(tmp_path)
    assert named(found.train, found.classes) == ["cat", "dog", "dog", "cat"]
    assert named(found.test, found.classes) == ["dog", "cat"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_names_may_be_the_labels(tmp_path, kind):
    write_rows(tmp_path, "train", pa.array(["dog", "cat", "dog"]).cast(kind))
    write_rows(tmp_path, "test", pa.array(["cat", "dog"]).cast(kind))
    found = open_labelled(tmp_path)
    assert found.classes == ("cat", "dog")
    assert (found.train.labels.tolist(), found.test.labels.tolist()) == ([1, 0, 1], [0, 1])


def test_of_several_columns_of_labels_one_is_taken_and_said(tmp_path, capsys):
    for split in ("train", "test"):
        write_rows(tmp_path, split, [0, 1], ["cat", "dog"], column="target")
        table = pq.read_table(tmp_path / f"{split}.parquet")
        pq.write_table(table.append_column("label", pa.array([7, 8])), tmp_path / f"{split}.parquet")
    assert open_labelled(tmp_path).classes == ("cat", "dog")
    assert f"the Parquet files in {tmp_path} have several columns of labels: target is taken, not label" in (
        capsys.readouterr().err
    )


def test_labels_in_columns_of_different_names_are_refused(tmp_path):
    write_rows(tmp_path, "train", [0, 1])
    write_rows(tmp_path, "test", [0, 1], column="class")
    with pytest.raises(EvaluationError, match=r"train.parquet are in its column label, those of .*test.parquet in cla"):
        open_labelled(tmp_path)
    write_rows(tmp_path, "train", [0, 1], column="class", file="train-1")
    with pytest.raises(EvaluationError, match=r"the columns class in .*train-1.parquet and label in .*train.parquet"):
        open_labelled(tmp_path)


def test_memory_grows_with_the_classes_that_there_are(tmp_path):
    write_rows(tmp_path, "train", [10**8, 3, 10**15])
    write_rows(tmp_path, "test", [3, 10**8])
    found = open_labelled(tmp_path)
    assert found.classes == ("3", "100000000", "1000000000000000")
    assert (found.train.labels.tolist(), found.test.labels.tolist()) == ([1, 0, 2], [0, 1])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (([0, 1], ["a", "b"]), ([0, 2], ["a", "b", "new"]), r"has 1 images of 1 classes .* lacks: new \(1\)"),
        (([0, 1], ["Cat", "dog"]), ([0], ["cat"]), r"lacks: cat \(1; the training split spells it Cat\)"),
        (([0, 1], ["a", "b"]), ([0, 1], None), r"test.parquet has labels without names, .*train.parquet names its"),
        (([0, 1], None), (["a"], None), r"train.parquet has labels without names"),
        (([0, 1], ["a", "b"]), ([0, -1], ["a", "b"]), r"1 of 2 rows without a label in label \(null or negative\)"),
        (([0, None], None), ([0], None), r"1 of 2 rows without a label"),
        (([0, 2], ["a", "b"]), ([0], ["a", "b"]), r"has the label 2 in label, and names 2 classes; expected 0 to 1"),
        (([0, 1], ["a", "a"]), ([0], ["a", "a"]), r"names the classes of label by a twice"),
        (([0, 1], None), ([7, 7, 1], None), r"has 2 images of 1 classes that the training split lacks: 7 \(2\)"),
        (([0.5], None), ([0], None), r"no label column: expected whole numbers or names of classes in label"),
        ((pa.array([2**64 - 1], pa.uint64()), None), ([0], None), r"cannot read .*train.parquet"),
        (([], None), ([0], None), r"no label column|has no rows"),
    ],
)
def test_labels_that_cannot_be_matched_are_refused_by_name(tmp_path, train, test, message):
    write_rows(tmp_path, "train", *train)
    write_rows(tmp_path, "test", *test)
    with pytest.raises(EvaluationError, match=message):
        open_labelled(tmp_path)


def test_hidden_empty_and_system_folders_are_no_classes_and_are_said(tmp_path, capsys):
    folder = write_labelled(tmp_path / "set")
    for name in (".ipynb_checkpoints", "__MACOSX", "empty", ".DS_Store"):
        (folder / "train" / name).mkdir()
    for name in (".ipynb_checkpoints", "__MACOSX"):
        shutil.copy(folder / "train/dark/0.png", folder / "train" / name / "0.png")
    shutil.copy(folder / "train/dark/0.png", folder / "train/loose.png")
    found = open_labelled(folder)
    assert (found.classes, len(found.train.refs)) == (("dark", "light"), 12)
    said = capsys.readouterr().err
    for name in (".DS_Store", ".ipynb_checkpoints", "__MACOSX", "empty", "1 images outside class folders", "loose.png"):
        assert name in said


def test_classes_that_differ_in_case_stay_apart_and_are_said(tmp_path, capsys):
    folder = write_labelled(tmp_path / "set")
    os.rename(folder / "test/dark", folder / "test/Dark")
    with pytest.raises(EvaluationError, match=r"lacks: Dark \(6; the training split spells it dark\)"):
        open_labelled(folder)
    os.rename(folder / "train/light", folder / "train/Dark")
    shutil.rmtree(folder / "test/light")
    assert open_labelled(folder).classes == ("Dark", "dark")
    said = capsys.readouterr().err
    assert "differ in case or accents alone, kept apart: Dark and dark" in said
    assert "test has no image of 1 of 2 classes: dark" in said


def test_many_classes_keep_their_details_small():
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 10_000, 500), random.integers(0, 10_000, 500)
    details = class_details(labels, predicted, 10_000)
    assert "confusion" not in details
    assert sum(count for _, _, count in details["confusion_counts"]) == 500
    assert len(json.dumps(details)) < 100_000


def test_a_named_set_that_is_parquet_says_what_to_type(tmp_path):
    write_rows(tmp_path / "cifar10", "train", [0, 1])
    with pytest.raises(EvaluationError, match=r"is not a root of CIFAR-10: it holds Parquet files.*alone: .*cifar10$"):
        open_labelled(Path(f"cifar10@{tmp_path / 'cifar10'}"))


def test_of_test_and_val_one_is_taken_and_said(tmp_path, capsys):
    folder = write_labelled(tmp_path / "both")
    shutil.copytree(folder / "test", folder / "val")
    open_labelled(folder)
    assert f"{folder} has several splits to choose from: test is taken, not val" in capsys.readouterr().err

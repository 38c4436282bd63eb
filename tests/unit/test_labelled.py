import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support import write_labelled

from samclr.errors import EvaluationError
from samclr.evaluation.labelled import decode_square, open_labelled


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


def test_subsets_are_the_same_each_time_and_change_the_fingerprint(tmp_path):
    train = open_labelled(write_labelled(tmp_path / "set")).train
    first, again = train.subset(5), train.subset(5)
    assert [ref.image_id for ref in first.refs] == [ref.image_id for ref in again.refs]
    assert len(first.refs) == 5
    assert first.fingerprint != train.fingerprint
    assert train.subset(99) is train


def test_squares_are_centred(tmp_path):
    Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[None], 20, 0)).save(tmp_path / "wide.png")
    from samclr.scenes.sources import list_scenes

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
        (lambda p: os.rename(p / "test/dark", p / "test/dim"), r"has classes that the training split lacks: dim"),
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
    with pytest.raises(EvaluationError, match=r"1 labelled images cannot be read: dark/0.png \(the file is empty\)"):
        decode_square(found.test.refs, 16, 2)


def test_labels_must_be_numbers(tmp_path):
    for name in ("train", "test"):
        pq.write_table(pa.table({"image": [b"x"], "label": ["cat"]}), tmp_path / f"{name}.parquet")
    with pytest.raises(EvaluationError, match=r"has no label column: expected integers named label"):
        open_labelled(tmp_path)

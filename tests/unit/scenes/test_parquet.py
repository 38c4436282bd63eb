"""Which column of a Parquet file holds the images, and what hostile files can do."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.true_layouts import png

from samclr import log
from samclr.bank.bank import SceneBank, pack_scenes
from samclr.datasets.labelled import open_labelled
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.fill import FillOptions
from samclr.scenes.parquet import choose_column
from samclr.scenes.reading import read_bytes

IMAGE, MASK = png(0), png(1)
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def structs(*encoded):
    return pa.array([one if one is None else {"bytes": one, "path": "x.png"} for one in encoded], STRUCT)


def write(path: Path, table: dict, features: dict | None = None) -> Path:
    made = pa.table(table)
    if features is not None:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(made, path)
    return path


def feature(kind: str) -> dict:
    return {"_type": kind}


@pytest.mark.parametrize(
    ("table", "features", "taken", "others"),
    [
        ({"image": structs(IMAGE)}, None, "image", ()),
        ({"mask": structs(MASK), "image": structs(IMAGE)}, None, "image", ("mask",)),
        ({"md5": pa.array([b"0123456789abcdef"]), "image": structs(IMAGE)}, None, "image", ()),
        ({"md5": pa.array([b"0123456789abcdef"]), "x": structs(IMAGE)}, None, "x", ()),
        ({"a": structs(MASK), "b": structs(IMAGE)}, None, "a", ("b",)),
        ({"a_mask": structs(MASK), "b": structs(IMAGE)}, None, "b", ("a_mask",)),
        ({"raw": pa.array([MASK]), "b": structs(IMAGE)}, {"b": feature("Image")}, "b", ()),
        ({"cond": structs(MASK), "b": structs(IMAGE)}, dict.fromkeys(("cond", "b"), feature("Image")), "b", ("cond",)),
        ({"image": pa.array([IMAGE], pa.large_binary())}, None, "image", ()),
        ({"key": pa.array([b"0123"], pa.binary(4)), "image": pa.array([IMAGE])}, None, "image", ()),
        ({"image": pa.array([IMAGE]).dictionary_encode()}, None, "image", ()),
        ({"image": structs(None), "mask": structs(MASK)}, None, "image", ("mask",)),
        ({"image": structs(IMAGE)}, {"image": {"_type": ["odd"]}, "info": 3}, "image", ()),
    ],
)
def test_the_image_column_is_found(tmp_path, table, features, taken, others):
    column = choose_column(str(write(tmp_path / "x.parquet", table, features)), 0)
    assert (column.name, column.others) == (taken, others)


@pytest.mark.parametrize("metadata", [b"{", b"[1]", b'{"info": {"features": []}}', b"[" * 100_000])
def test_damaged_metadata_of_hugging_face_counts_as_none(tmp_path, metadata):
    table = pa.table({"image": structs(IMAGE)}).replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(table, tmp_path / "x.parquet")
    assert choose_column(str(tmp_path / "x.parquet"), 0).name == "image"


def test_what_was_taken_is_said_and_can_be_named(tmp_path, capsys):
    path = write(tmp_path / "x.parquet", {"mask": structs(MASK), "image": structs(IMAGE)})
    log._SAID.clear()
    (ref,) = list_scenes([path])
    assert read_bytes(ref) == IMAGE
    said = capsys.readouterr().err
    assert "1 Parquet file with several columns that may hold the images: image is used, not mask; " in said
    assert "`image_column` names another" in said
    (other,) = list_scenes([path], image_column="mask")
    assert read_bytes(other) == MASK
    assert "several columns" not in capsys.readouterr().err


def test_rows_of_two_columns_never_pass_for_each_other(tmp_path):
    path = write(tmp_path / "x.parquet", {"mask": structs(MASK), "image": structs(IMAGE)})
    by_column = {column: list_scenes([path], column) for column in (None, "image", "mask")}
    assert [ref.image_id for refs in by_column.values() for ref in refs] == ["x.parquet:image#0"] * 2 + ["x.parquet#0"]
    for column, encoded in (("mask", MASK), ("image", IMAGE)):  # one bank, one after the other
        pack_scenes(by_column[column], tmp_path / "bank", None, FillOptions())
        bank = SceneBank(tmp_path / "bank", by_column[column])
        assert np.array_equal(bank.level(0, 0), np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")))


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [
        (
            {"image": structs(IMAGE)},
            "picture",
            r"no images in a column picture \(it has 0 of them\).*its columns: image",
        ),
        ({"image": structs(IMAGE), "n": pa.array([1])}, "n", r"the column n is int64.*expected a struct of bytes"),
        ({"image": pa.array([[IMAGE]])}, "image", r"the column image is list<.*one image a row"),
    ],
)
def test_a_column_that_cannot_be_it_is_refused(tmp_path, table, column, message):
    with pytest.raises(ScenesError, match=message):
        list_scenes([write(tmp_path / "x.parquet", table)], column)


def test_a_column_for_scenes_without_parquet_is_refused(scenes):
    with pytest.raises(ScenesError, match="no Parquet file among the scenes has a column image"):
        list_scenes([scenes], "image")


def test_lists_of_images_are_named(tmp_path):
    (ref,) = list_scenes([write(tmp_path / "x.parquet", {"image": pa.array([[IMAGE, IMAGE]])})])
    with pytest.raises(DecodeError, match=r"found image \(lists of images, as image may be, are not supported"):
        load_scene(ref)


def test_empty_rows_are_their_own_errors_and_empty_files_are_said(tmp_path, capsys):
    write(tmp_path / "a.parquet", {"image": structs(IMAGE, None, b"")})
    write(tmp_path / "b.parquet", {"image": structs()})
    log._SAID.clear()
    first, *rest = list_scenes([tmp_path])
    assert "1 Parquet file without rows: b.parquet" in capsys.readouterr().err
    load_scene(first)
    assert [ref.image_id for ref in rest] == ["a.parquet#1", "a.parquet#2"]
    for ref in rest:
        with pytest.raises(DecodeError, match="the row has no image bytes"):
            load_scene(ref)


def test_paths_of_rows_stay_in_the_folder_of_the_file(tmp_path):
    (tmp_path / "set").mkdir()
    for place in (tmp_path / "outside.png", tmp_path / "set/inside.png"):
        place.write_bytes(IMAGE)
    paths = ["inside.png", "../outside.png", str(tmp_path / "outside.png"), "a/../../outside.png", "C:\\x.png", "pipe"]
    rows = [{"bytes": None, "path": path} for path in paths]
    write(tmp_path / "set/x.parquet", {"image": pa.array(rows, STRUCT)})
    (tmp_path / "set/inside.png").rename(tmp_path / "set/inside.png.kept")
    (tmp_path / "set/inside.png.kept").rename(tmp_path / "set/inside.png")
    inside, *others = [ref for ref in list_scenes([tmp_path / "set/x.parquet"]) if ref.row is not None]
    assert read_bytes(inside) == IMAGE
    for ref in others[:-1]:
        with pytest.raises(DecodeError, match="leads out of"):
            load_scene(ref)
    with pytest.raises(DecodeError, match="No such file"):
        load_scene(others[-1])


def test_labelled_sets_take_a_column_too(tmp_path):
    for split in ("train", "test"):
        table = {"mask": structs(MASK, MASK), "image": structs(IMAGE, IMAGE), "label": pa.array([0, 1])}
        write(tmp_path / f"{split}.parquet", table)
    assert read_bytes(open_labelled(tmp_path).train.refs[0]) == IMAGE
    assert read_bytes(open_labelled(tmp_path, image_column="mask").train.refs[0]) == MASK


def test_rows_that_a_footer_claims_are_not_believed(tmp_path):
    schema = pa.schema([("image", STRUCT)])
    table = pa.table({"image": pa.nulls(3_000_000, STRUCT)}, schema)
    pq.write_table(table, tmp_path / "x.parquet")
    (ref,) = list_scenes([tmp_path / "x.parquet"])
    with pytest.raises(DecodeError, match="it claims 3,000,000 rows in"):
        load_scene(ref)


def test_flipped_bits_end_in_rows_and_errors_alone(tmp_path):
    whole = write(tmp_path / "x.parquet", {"image": structs(IMAGE, MASK)}).read_bytes()
    random = np.random.default_rng(0)
    for number in range(50):
        at = int(random.integers(len(whole)))
        path = tmp_path / f"{number}.parquet"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << number % 8)]) + whole[at + 1 :])
        for ref in list_scenes([path]):
            try:
                load_scene(ref)
            except DecodeError:
                continue

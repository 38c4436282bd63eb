"""Folders of vectors as Python sees them, and as other readers of Parquet do."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.vectors import SIZE_HW, write_vectors

import samclr
from samclr.embedding import vectors as module
from samclr.embedding.mapped import SHOWN
from samclr.errors import PartsError, UsageError

HOSTILE = ["a/ü \u202e.png", "../../up.png", "-1", "tab\t.png", "a/b", "z'; DROP TABLE--", "Ω" * 200]


def some(ids, seed=0, width=5, most=4):
    random = np.random.default_rng(seed)
    return {one: random.normal(size=(1 + int(random.integers(0, most)), width)).astype(np.float32) for one in ids}


def unit(rows):
    return rows / np.linalg.norm(rows.astype(np.float64), axis=-1, keepdims=True)


def test_rows_and_matrix_are_in_the_order_of_ids_and_regions(tmp_path):
    given = some(["b", "d", "a", "c", "e"])
    write_vectors(tmp_path / "v", given)
    opened = samclr.open_vectors(tmp_path / "v")
    assert (len(opened), opened.width, opened.manifest["backbone"]) == (sum(map(len, given.values())), 5, "made-up")
    wanted = [(one, number - 1) for one in sorted(given) for number in range(len(given[one]))]
    whole = unit(np.concatenate([given[one] for one in sorted(given)]))
    for kind, kept in (
        ("all", [True] * len(wanted)),
        ("image", [region == -1 for _, region in wanted]),
        ("region", [region >= 0 for _, region in wanted]),
    ):
        rows = opened.rows(kind)
        assert rows.column_names == list(SHOWN)
        found = list(zip(rows["id"].to_pylist(), rows["region"].to_pylist(), strict=True))
        assert found == [row for row, keep in zip(wanted, kept, strict=True) if keep]
        assert isinstance(opened.matrix(kind), np.memmap)
        np.testing.assert_allclose(opened.matrix(kind), whole[kept], atol=1e-6)
    image = opened.rows("image").to_pylist()[0]
    assert (image["box_xyxy"], image["area_px"]) == ([0, 0, *SIZE_HW[::-1]], SIZE_HW[0] * SIZE_HW[1])
    assert (image["width_px"], image["height_px"]) == SIZE_HW[::-1]
    assert opened.rows("region").to_pylist()[0]["box_xyxy"] == [0, 0, 10, 10]


def test_what_is_added_later_counts_and_the_arrays_are_made_anew(tmp_path):
    first = some(["a", "b", "c"], 0)
    write_vectors(tmp_path / "v", first | {"x": "cannot decode"})
    opened = samclr.open_vectors(tmp_path / "v")
    assert opened.errors == {"x": "cannot decode"}
    before = opened.matrix().copy()
    again = some(["b", "x"], 1)
    write_vectors(tmp_path / "v", again)
    later = samclr.open_vectors(tmp_path / "v")
    whole = first | again
    np.testing.assert_allclose(later.matrix(), unit(np.concatenate([whole[one] for one in sorted(whole)])), atol=1e-6)
    assert later.errors == {}
    np.testing.assert_array_equal(opened.matrix(), before)
    assert len(list((tmp_path / "v" / "mapped").iterdir())) == 1


def test_float16_is_kept_as_float16(tmp_path):
    given = some(["a", "b"], width=7)
    write_vectors(tmp_path / "v", given, "float16")
    matrix = samclr.open_vectors(tmp_path / "v").matrix()
    assert matrix.dtype == np.float16
    np.testing.assert_allclose(matrix, unit(np.concatenate([given["a"], given["b"]])), atol=2e-3)


def test_ids_may_be_anything(tmp_path):
    given = some(HOSTILE)
    write_vectors(tmp_path / "v", given)
    rows = samclr.open_vectors(tmp_path / "v").rows("image")
    assert rows["id"].to_pylist() == sorted(HOSTILE)
    assert {path.name for path in tmp_path.iterdir()} == {"v"}


@pytest.mark.parametrize("given", [{}, {"a": "cannot decode"}, {"a": np.ones((1, 4), np.float32)}])
def test_few_rows_or_none(tmp_path, given):
    write_vectors(tmp_path / "v", given)
    opened = samclr.open_vectors(tmp_path / "v")
    images = sum(isinstance(value, np.ndarray) for value in given.values())
    assert [len(opened.rows(kind)) for kind in ("all", "image", "region")] == [images, images, 0]
    assert [opened.matrix(kind).shape for kind in ("all", "region")] == [(images, 4), (0, 4)]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_vector_without_direction_is_named(tmp_path, value):
    odd = np.ones((3, 4), np.float32)
    odd[2] = value
    write_vectors(tmp_path / "v", {"a": np.ones((1, 4), np.float32), "b": odd})
    opened = samclr.open_vectors(tmp_path / "v")
    assert opened.matrix("image").shape == (2, 4)
    with pytest.raises(PartsError, match="the vector of b, region 1 is zero or not finite"):
        opened.matrix("region")


def test_damage_is_said(tmp_path):
    write_vectors(tmp_path / "v", some(["a", "b"]))
    (part,) = (tmp_path / "v" / "rows").iterdir()
    content = bytearray(part.read_bytes())
    content[20] ^= 255
    part.write_bytes(content)
    with pytest.raises(PartsError, match=r"rows.b00000-p00000.parquet is damaged .*; delete it and rerun samclr embed"):
        samclr.open_vectors(tmp_path / "v").rows()
    part.unlink()
    with pytest.raises(PartsError, match=r"is damaged .*No such file"):
        samclr.open_vectors(tmp_path / "v").matrix()


@pytest.mark.parametrize("name", ["rows.arrow", "all.npy"])
def test_a_damaged_file_of_what_is_mapped_is_made_again(tmp_path, name, caplog):
    write_vectors(tmp_path / "v", some(["a", "b", "c"]))
    before = samclr.open_vectors(tmp_path / "v")
    rows, matrix = before.rows(), np.array(before.matrix())
    (file,) = (tmp_path / "v" / "mapped").rglob(name)
    for place in np.linspace(0, file.stat().st_size - 1, 9).astype(int).tolist():
        content = bytearray(file.read_bytes())
        content[place] ^= 4
        file.write_bytes(content)
        caplog.clear()
        again = samclr.open_vectors(tmp_path / "v")
        assert again.rows().equals(rows)
        np.testing.assert_array_equal(again.matrix(), matrix)
        assert f"{file} is damaged, and is made again" in caplog.text


def test_what_is_not_a_folder_of_vectors_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(PartsError, match=r"is not a folder of vectors: it has no manifest.json"):
        samclr.open_vectors(tmp_path / "other")
    write_vectors(tmp_path / "v", {})
    manifest = json.loads((tmp_path / "v" / "manifest.json").read_text())
    assert manifest["kind"] == "folder of vectors"
    with pytest.raises(UsageError, match="kind is 'regions'; expected image, region or all"):
        samclr.open_vectors(tmp_path / "v").rows("regions")


def test_a_folder_that_may_not_be_written_is_ordered_in_the_cache(tmp_path, monkeypatch):
    write_vectors(tmp_path / "v", some(["a", "b"]))
    monkeypatch.setattr(module.os, "access", lambda *_: False)  # root may write everywhere
    samclr.open_vectors(tmp_path / "v").matrix()
    assert not (tmp_path / "v" / "mapped").exists()
    assert list((tmp_path / "cache" / "vectors").rglob("all.npy"))


def test_the_parts_are_plain_parquet(tmp_path):
    given = some(["a", "b", "c", "d"])
    write_vectors(tmp_path / "v", given | {"x": "cannot decode"})
    table = pq.read_table(tmp_path / "v" / "rows")
    assert table.column_names == [*SHOWN, "vector"]
    assert set(table["id"].to_pylist()) == set(given)
    of_c = table.filter(np.array(table["id"].to_pylist()) == "c")
    np.testing.assert_array_equal(np.array(of_c["vector"].to_pylist(), np.float32), given["c"])

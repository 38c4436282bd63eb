"""Exports, and other readers of the parts: each finds the rows and vectors that samclr has."""

import json
import runpy
import sys
import types

import numpy as np
import pyarrow as pa
import pytest
from support.vectors import write_vectors

import samclr
from samclr.embedding import export
from samclr.embedding.export import check_exports, write_exports
from samclr.errors import UsageError
from samclr.scenes.refs import SceneRef


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    given = {one: random.normal(size=(3, 6)).astype(np.float32) for one in ("b'\"", "a/1.png", "c")}
    write_vectors(tmp_path / "v", given | {"none": random.normal(size=(1, 6)).astype(np.float32)}, "float16")
    return tmp_path / "v"


def parquet(path):
    """The README's lines for other readers."""
    import duckdb
    import pandas as pd
    import pyarrow.dataset as ds

    yield ds.dataset(path / "rows").to_table().to_pylist()
    yield pd.read_parquet(path / "rows").to_dict("records")
    relation = duckdb.sql(f"SELECT id, region, vector FROM '{path}/rows/*.parquet'")
    yield [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def test_other_readers_find_the_same_rows(folder):
    wanted = samclr.open_vectors(folder)
    names = list(zip(wanted.rows()["id"].to_pylist(), wanted.rows()["region"].to_pylist(), strict=True))
    for rows in parquet(folder):
        found = {(row["id"], row["region"]): np.array(row["vector"], np.float64) for row in rows}
        assert sorted(found) == sorted(names)
        for name, unit in zip(names, wanted.matrix(), strict=True):
            np.testing.assert_allclose(found[name] / np.linalg.norm(found[name]), unit, atol=2e-3)


def test_lance(folder):
    lance = pytest.importorskip("lance")
    for _ in range(2):  # made anew
        write_exports(folder, ["lance"], [])
    table = lance.dataset(str(folder / "exports" / "vectors.lance")).to_table()
    vectors = samclr.open_vectors(folder)
    assert table.drop_columns(["vector"]).to_pylist() == vectors.rows().to_pylist()
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float16), vectors.matrix())


def test_faiss(folder):
    faiss = pytest.importorskip("faiss")
    write_exports(folder, ["faiss"], [])
    vectors = samclr.open_vectors(folder)
    index = faiss.read_index(str(folder / "exports" / "region.faiss"))
    likeness, nearest = index.search(np.array(vectors.matrix("region"), np.float32), 1)
    assert nearest[:, 0].tolist() == list(range(6))
    np.testing.assert_allclose(likeness, 1, atol=2e-3)
    names = pa.parquet.read_table(folder / "exports" / "region.parquet")
    assert names.to_pylist() == vectors.rows("region").to_pylist()
    assert faiss.read_index(str(folder / "exports" / "image.faiss")).ntotal == 4


class Played(types.ModuleType):
    """As much of FiftyOne as the script uses."""

    def __init__(self):
        super().__init__("fiftyone")
        self.samples = []
        played = self

        class Sample(dict):
            def __init__(self, **fields):
                super().__init__(fields)

        class Dataset:
            def __init__(self, name, persistent):
                assert persistent
                self.name = name

            def add_samples(self, samples):
                played.samples += samples

        self.Sample, self.Dataset = Sample, Dataset
        self.Detections = lambda detections: detections
        self.Detection = lambda **fields: fields


def test_the_script_for_fiftyone_against_a_played_one(folder, monkeypatch):
    refs = [SceneRef(image_id="a/1.png", path="/photos/a/1.png"), SceneRef(image_id="c", path="/set.parquet", row=3)]
    (said,) = write_exports(folder, ["fiftyone"], refs)
    assert "3 images that are not files of their own are left out" in said
    place = folder / "exports" / "fiftyone"
    assert json.loads((place / "files.json").read_text()) == {"a/1.png": "/photos/a/1.png"}
    played = Played()
    monkeypatch.setitem(sys.modules, "fiftyone", played)
    runpy.run_path(str(place / "load_in_fiftyone.py"))["load"](place, "photos")
    (sample,) = played.samples
    assert (sample["filepath"], sample["image_id"], len(sample["vector"])) == ("/photos/a/1.png", "a/1.png", 6)
    first, second = sample["regions"]
    assert (first["region"], first["bounding_box"]) == (0, [0, 0, 10 / 80, 10 / 60])
    assert second["bounding_box"][0] == 1 / 80
    np.testing.assert_allclose(np.linalg.norm(first["vector"]), 1, atol=2e-3)


def test_a_missing_package_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"`export` lance needs a package: pip install 'samclr\[lance\]'"):
        check_exports(["fiftyone", "lance"])

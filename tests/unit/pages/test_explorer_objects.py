"""The explorer with vectors and with a run: neighbours, the map, pictures of objects, patch features as colours."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.nested import write_nested
from support.vectors import write_vectors

from samclr.config.explorer import ExplorerData
from samclr.pages.explorer import objects as module
from samclr.pages.explorer.guard import Guard
from samclr.pages.explorer.objects import principal
from samclr.pages.explorer.patch_colours import as_colours
from samclr.pages.explorer.routes import make_app
from samclr.pages.explorer.source import Source
from samclr.regions.region_store import RegionStore

RUN = Path(__file__).parents[2] / "formats" / "0.1" / "run"


def client_of(source: Source) -> TestClient:
    return TestClient(Guard(make_app(source), "127.0.0.1", 80, None), base_url="http://127.0.0.1")


@pytest.fixture
def made(tmp_path, call):
    """A client, and the regions' vectors, in the order of their rows; one image is not among the scenes."""
    scenes, store = write_nested(tmp_path, 6, call)
    random = np.random.default_rng(0)
    vectors = {f"{number:03d}.png": random.normal(size=(1 + number, 8)) for number in range(5)}
    vectors_and_other = vectors | {"other.png": random.normal(size=(3, 8))}
    write_vectors(tmp_path / "vectors", vectors_and_other, regions=RegionStore(store))
    source = Source([scenes], ExplorerData(regions=store, vectors=tmp_path / "vectors", run=RUN))
    rows = np.concatenate([value[1:] for value in vectors.values()])
    return client_of(source), rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_neighbours_are_the_most_similar_of_these_scenes(made):
    client, rows = made
    assert client.get("/api/start").json()["has_vectors"]
    found = client.get("/api/similar/3", params={"region": 1, "count": 4}).json()["rows"]
    row = 0 + 1 + 2 + 1
    cosine = rows @ rows[row]
    expected = [other for other in np.argsort(-cosine, kind="stable").tolist() if other != row][:4]
    places = [(number, region) for number in range(5) for region in range(number)]
    assert {(one["scene"], one["region"]) for one in found} <= {places[other] for other in expected}
    assert found[0]["similarity"] == pytest.approx(cosine[expected[0]], abs=1e-3)
    assert found[0]["id"] == f"{found[0]['scene']:03d}.png"
    picture = client.get(f"/object/{found[0]['row']}")
    assert Image.open(io.BytesIO(picture.content)).format == "JPEG"
    assert "no vector" in client.get("/api/similar/0", params={"region": 0}).json()["why_not"]
    for path, status in {
        "/object/11": 404,
        "/object/999": 404,
        "/api/similar/77": 404,
        "/api/map?method=x": 400,
    }.items():
        assert client.get(path).status_code == status


def test_objects_of_a_store_that_was_redone_are_not_those_of_the_vectors(tmp_path, call, capsys):
    scenes, store = write_nested(tmp_path, 4, call)
    regions = RegionStore(store)
    found = regions["001.png"].regions
    turned = replace(regions["001.png"], regions=(found[1], found[0], *found[2:]))
    given = {"000.png": np.ones((3, 4)), "001.png": np.ones((3, 4))}
    write_vectors(tmp_path / "vectors", given, regions={**regions, "001.png": turned})
    source = Source([scenes], ExplorerData(regions=store, vectors=tmp_path / "vectors"))
    assert source.objects.scene.tolist() == [0, 0, module.NO_SCENE, module.NO_SCENE]
    assert "1 scenes have other regions in the store than in" in capsys.readouterr().err
    assert "no vector" in client_of(source).get("/api/similar/1", params={"region": 0}).json()["why_not"]


def test_the_map_shows_every_object_or_a_sample(made, monkeypatch):
    client, rows = made
    whole = client.get("/api/map").json()
    assert whole["total"] == len(whole["x"]) == len(rows)
    assert min(whole["x"]) == 0
    assert max(whole["x"]) == whole["side"]
    assert whole["scene"] == [number for number in range(5) for _ in range(number)]
    monkeypatch.setattr(module, "MOST_POINTS", {"pca": 4, "umap": 4})
    fresh = module.Objects.map
    monkeypatch.setattr(module.Objects, "map", lambda self, method: self._maps.clear() or fresh(self, method))
    assert len(client.get("/api/map").json()["x"]) == 4
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert "samclr[umap]" in client.get("/api/map", params={"method": "umap"}).json()["error"]


def test_principal_directions_are_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32) * np.arange(1, 7, dtype=np.float32)
    expected = PCA(3).fit_transform(rows)
    assert np.abs(principal(rows, 3)) == pytest.approx(np.abs(expected), abs=1e-3)
    assert principal(rows[:0], 2).shape == (0, 2)
    assert principal(rows[:, :1], 3).shape == (40, 3)
    assert as_colours(np.zeros((5, 2, 3), np.float32)).shape == (2, 3, 3)


def test_patch_features_before_and_after_training(made):
    client, _ = made
    before, after = (client.get(f"/features/1/{moment}") for moment in ("before", "after"))
    pictures = [np.asarray(Image.open(io.BytesIO(answer.content))) for answer in (before, after)]
    assert pictures[0].shape == pictures[1].shape
    assert min(pictures[0].shape[:2]) >= 2
    assert (pictures[0] != pictures[1]).any()
    assert client.get("/features/1/later").status_code == 404
    assert client.get("/features/99/after").status_code == 404


def test_a_run_gives_the_settings_to_begin_with(made):
    client, _ = made
    start = client.get("/api/start").json()
    assert start["has_run"]
    assert "from-config" in client.get("/api/views/1", params={"strategy": "image"}).json()["command"]


def test_without_vectors_and_run(tmp_path, call):
    scenes, store = write_nested(tmp_path, 3, call)
    client = client_of(Source([scenes], ExplorerData(regions=store)))
    for path in ("/api/similar/0", "/api/map", "/object/0", "/features/0/after"):
        assert client.get(path).status_code == 404
        assert "samclr explore with --" in client.get(path).json()["error"]


def test_neighbours_are_found_behind_many_of_other_scenes(tmp_path, call):
    scenes, store = write_nested(tmp_path, 3, call)
    near = np.eye(4)[0] + 0.001 * np.arange(40)[:, None] * np.eye(4)[1]
    vectors = {"000.png": np.eye(4)[[0, 0, 2]], "001.png": np.eye(4)[[0, 3]], "other.png": near}
    write_vectors(tmp_path / "vectors", vectors, regions=RegionStore(store))
    objects = Source([scenes], ExplorerData(regions=store, vectors=tmp_path / "vectors")).objects
    row = objects.row_of(0, 0)
    assert [(one["scene"], one["region"]) for one in objects.similar(row, 2)] == [(0, 1), (1, 0)]
    assert len(objects.similar(row, 50)) == 2

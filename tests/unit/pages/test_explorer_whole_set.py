"""The explorer on the whole set: near-duplicates as a choice of scenes, and shares of views by a sample."""

import time

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.copies import copies, photograph
from support.nested import write_nested
from support.vectors import write_vectors

import samclr
from samclr.config.explorer import ExplorerData
from samclr.datasets.scene_lists import write_list
from samclr.datasets.sources import list_scenes
from samclr.embedding.copies import find_copies
from samclr.pages.explorer import source as source_module
from samclr.pages.explorer import twice as module
from samclr.pages.explorer.guard import Guard
from samclr.pages.explorer.routes import make_app
from samclr.pages.explorer.source import Source


def client_of(source: Source) -> TestClient:
    return TestClient(Guard(make_app(source), "127.0.0.1", 80, None), base_url="http://127.0.0.1")


@pytest.fixture
def photos(tmp_path):
    """Five photographs, and copies of two; all vectors are alike, so that pictures decide."""
    folder = tmp_path / "photos"
    folder.mkdir()
    images = {f"{seed}.png": photograph(seed) for seed in range(5)}
    for seed in (1, 3):
        images |= {f"{seed} {what}.png": copy for what, copy in list(copies(photograph(seed)))[:2]}
    for name, image in images.items():
        image.save(folder / name)
    near = np.random.default_rng(0).normal(size=(len(images), 8)) * 0.01 + 1
    write_vectors(tmp_path / "v", {name: row[None] for name, row in zip(images, near, strict=True)})
    return folder


def asked(client: TestClient) -> dict:
    """The near-duplicates once they are found."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer = client.get("/api/scenes", params={"show": "duplicates"}).json()
        if answer["duplicates"]["state"] != "working":
            return answer
        time.sleep(0.02)
    raise AssertionError(answer)


def test_near_duplicates_are_those_of_the_command_group_by_group(photos, tmp_path):
    source = Source([photos], ExplorerData(vectors=tmp_path / "v"))
    client = client_of(source)
    assert client.get("/api/start").json()["has_duplicates"]
    assert source.twice.state == "waiting"  # nothing is compared that nobody asked for
    found = asked(client)
    expected = find_copies(samclr.open_vectors(tmp_path / "v"), refs=list_scenes([photos]))
    assert len(expected.groups) == 2
    wanted = [(place.id, number, place == group[0]) for number, group in enumerate(expected.groups) for place in group]
    assert [(row["id"], row["group"], row["is_kept"]) for row in found["rows"]] == wanted
    assert found["duplicates"]["text"].startswith("2 groups of near-duplicates (similarity of 0.95")
    largest = client.get("/api/scenes", params={"show": "duplicates", "sort": "largest"}).json()["rows"]
    areas = [row["width"] * row["height"] for row in largest]
    assert areas == sorted(areas, reverse=True)
    assert client.get("/api/scenes").json()["duplicates"] is None


@pytest.mark.parametrize(("name", "text"), [
    ("MOST_IMAGES", "9 images are too many for a page: run samclr duplicates"),
    ("MOST_PAIRS", "over 1 pairs of pictures are too many for a page: run samclr duplicates"),
])  # fmt: skip
def test_what_would_take_too_long_is_left_to_the_command(photos, tmp_path, monkeypatch, name, text):
    monkeypatch.setattr(module, name, 1)
    about = asked(client_of(Source([photos], ExplorerData(vectors=tmp_path / "v"))))["duplicates"]
    assert about["state"] == "failed"
    assert f"no near-duplicates: {text}" in about["text"]
    assert about["text"].endswith("start samclr explore with --duplicates twice.txt")


def test_an_explorer_that_ends_lets_go_of_the_comparison(photos, tmp_path):
    source = Source([photos], ExplorerData(vectors=tmp_path / "v"))
    source.close()
    assert asked(client_of(source))["duplicates"]["text"] == "no near-duplicates: the explorer ends"


def test_vectors_of_other_scenes_are_said(photos, tmp_path, caplog):
    (photos / "2.png").unlink()
    about = asked(client_of(Source([photos], ExplorerData(vectors=tmp_path / "v"))))["duplicates"]
    assert about["state"] == "ready"
    assert "is not among the 8 scenes, and in no group: 2.png" in caplog.text


def test_a_list_chooses_the_scenes(photos, tmp_path, caplog):
    write_list(tmp_path / "twice.txt", ["3.png", "1.png", "gone.png"], [photos], "near-duplicates")
    client = client_of(Source([photos], ExplorerData(duplicates=tmp_path / "twice.txt")))
    found = asked(client)
    assert [row["id"] for row in found["rows"]] == ["1.png", "3.png"]
    assert found["duplicates"]["text"] == "those that twice.txt leaves out"
    assert "1 of 3 names in" in caplog.text


def test_without_vectors_or_a_list_there_is_no_such_choice(photos):
    client = client_of(Source([photos], ExplorerData()))
    assert not client.get("/api/start").json()["has_duplicates"]
    answer = client.get("/api/scenes", params={"show": "duplicates"})
    assert (answer.status_code, "--vectors or --duplicates" in answer.json()["error"]) == (400, True)


def test_shares_of_the_whole_set_count_what_training_shows_first(tmp_path, call, monkeypatch):
    scenes, store = write_nested(tmp_path, 6, call)
    (scenes / "broken.png").write_bytes(b"torn")
    Image.new("RGB", (90, 70), "grey").save(scenes / "new.png")  # which the store does not know
    words = {"size_px": 40, "min_area_px": 50, "global_batch_size": 3, "min_coverage": 0.9}
    client = client_of(Source([scenes], ExplorerData(regions=store)))
    found = client.get("/api/set-shares", params=words).json()
    views = [client.get(f"/api/views/{number}", params=words) for number in range(8)]
    rows = [row for answer in views if answer.status_code == 200 for row in answer.json()["rows"]]
    shown = [view for row in rows for view in row["views"]]
    assert (found["scenes"], found["left_out"], found["of_scenes"]) == (7, 1, 8)
    assert found["pairs"] == len(rows)
    assert found["views"] == len(shown)
    assert found["enlarged"] == sum(view["enlarged"] for view in shown)
    assert found["identical"] == sum(row["identical"] for row in rows)
    assert found["whole_image"] == sum(row["region"] is None for row in rows) >= 1
    assert found["under_coverage"] == sum((view["cover"] or 1) < 0.9 for view in shown) > 0
    monkeypatch.setattr(source_module, "SAMPLE_SCENES", 3)
    few = client_of(Source([scenes], ExplorerData(regions=store))).get("/api/set-shares", params=words).json()
    drawn = sorted(np.random.default_rng(0).permutation(8)[:3].tolist())
    assert few["scenes"] + few["left_out"] == len(drawn)
    rows = [row for number in drawn if views[number].status_code == 200 for row in views[number].json()["rows"]]
    assert few["enlarged"] == sum(view["enlarged"] for row in rows for view in row["views"])
    why = client_of(Source([scenes], ExplorerData())).get("/api/set-shares", params={"strategy": "region"}).json()
    assert "needs regions" in why["why_not"]

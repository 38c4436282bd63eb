"""`samclr similar`, `duplicates` and `select` on made-up vectors of generated photographs."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.copies import copies, photograph
from support.vectors import write_vectors

import samclr
from samclr.datasets.scene_lists import read_list
from samclr.datasets.sources import list_scenes
from samclr.scenes.refs import portable

CPU = ("--device", "cpu")
OLD_RUN = Path(__file__).parents[1] / "formats" / "0.1" / "run"
HOSTILE = "<script>alert(1)<'&\"\n.png"
NUM = 8


def vector_of(image: Image.Image) -> np.ndarray:
    """A thumbnail as a vector: what a backbone would see is not the matter here."""
    small = np.asarray(image.convert("RGB").resize((6, 6), Image.Resampling.BOX), np.float64).ravel() - 100.0
    return small / np.linalg.norm(small)


@pytest.fixture
def photos(tmp_path):
    """Eight photographs, copies of two of them, and one with a name that is made to break pages."""
    folder = tmp_path / "photos"
    folder.mkdir()
    images = {f"{seed}.png": photograph(seed) for seed in range(NUM)}
    for seed in (1, 4):
        for what, copy in copies(photograph(seed)):
            if not what.startswith("crop 0.8"):
                images[f"{seed} {what}.png"] = copy
    images[HOSTILE] = photograph(99)
    for name, image in images.items():
        image.save(folder / name)
    vectors = {}
    for name, image in images.items():
        halves = [
            image.crop((0, 0, image.width // 2, image.height)),
            image.crop((0, 0, image.width, image.height // 2)),
        ]
        vectors[name] = np.stack([vector_of(one) for one in (image, *halves)])
    write_vectors(tmp_path / "vectors", vectors, dtype="float16")
    return folder


def test_similar_names_the_nearest_images_and_objects(here, photos, tmp_path):
    run = here("similar", tmp_path / "vectors", "--to", "4.png", "--num", 3, "--json")
    found = json.loads(run.stdout)
    vectors = samclr.open_vectors(tmp_path / "vectors")
    matrix, names = vectors.matrix("image").astype(np.float64), vectors.rows("image")["id"].to_pylist()
    order = np.argsort(-(matrix @ matrix[names.index("4.png")]), kind="stable")
    expected = [names[row] for row in order if names[row] != "4.png"][:3]
    assert [one["id"] for one in found["similar"]] == expected
    assert all(one.startswith("4 ") for one in expected)
    assert found["query"] == {"id": "4.png", "region": None, "box_xyxy": [0, 0, 80, 60], "area_px": 4800}

    found = json.loads(here("similar", tmp_path / "vectors", "--to", "4.png", "--region", 1, "--json").stdout)
    assert found["kind"] == "region"
    assert len(found["similar"]) == 10
    assert all(one["region"] == 1 and one["id"].startswith("4 ") for one in found["similar"][:3])
    everything = json.loads(here("similar", tmp_path / "vectors", "--to", "4.png", "--num", 999, "--json").stdout)
    assert len(everything["similar"]) == len(names) - 1
    table = here("similar", tmp_path / "vectors", "--to", "4.png", "--kind", "region").stdout
    assert "box xyxy" in table


def test_what_is_not_there_is_answered_by_the_nearest(here, photos, tmp_path):
    run = here("similar", tmp_path / "vectors", "--to", "4.pgn")
    assert run.returncode == 1
    assert re.search(r"4.pgn is neither an image of .* nor a file; did you mean 4.png", run.stderr)
    run = here("similar", tmp_path / "vectors", "--to", "4.png", "--region", 7)
    assert "has no region 7 of 4.png; it has 0, 1" in run.stderr
    write_vectors(tmp_path / "images-alone", {"a.png": np.ones((1, 4))})
    run = here("similar", tmp_path / "images-alone", "--to", "a.png", "--kind", "region")
    assert (run.returncode, "has no vectors of regions; samclr embed makes some" in run.stderr) == (2, True)
    run = here("similar", tmp_path / "images-alone", "--to", "a.png", "--json")
    assert json.loads(run.stdout)["similar"] == []


@pytest.mark.parametrize("how", ["pool", "crop"])
def test_a_file_and_a_box_are_embedded_as_the_folder_was(here, photos, tmp_path, how):
    """The same picture under another name finds itself; a box finds the region that is that box."""
    labels = tmp_path / "labels"
    labels.mkdir()
    few = tmp_path / "few"
    few.mkdir()
    for name in ("0.png", "1.png", "2.png"):
        (photos / name).rename(few / name)
        halves = np.zeros((120, 160), np.uint8)
        halves[20:100, 30:90] = 1
        Image.fromarray(halves).save(labels / name)
    words = ("--segmenter", "labels", "--labels", labels, "--ignore-label", 0, "--workers", 1)
    assert here("segment", few, "--out", tmp_path / "store", *words).returncode == 0
    made = tmp_path / "embedded"
    options = ("--backbone", "small-cnn", "--image-px", 64, "--regions-by", how, "--dtype", "float32", *CPU)
    run = here("embed", few, "--regions", tmp_path / "store", "--out", made, *options, "--workers", 1)
    assert run.returncode == 0, run.stderr
    (few / "1.png").rename(tmp_path / "other.png")
    run = here("similar", made, "--to", tmp_path / "other.png", "--json", *CPU)
    assert run.returncode == 0, run.stderr
    first = json.loads(run.stdout)["similar"][0]
    assert (first["id"], round(first["similarity"], 5)) == ("1.png", 1.0)
    box = ("--box", 30, 20, 90, 100)
    page = tmp_path / "page.html"
    shown = ("--page", page, "--scenes", few)
    run = here("similar", made, "--to", tmp_path / "other.png", *box, "--json", *CPU, *shown)
    first = json.loads(run.stdout)["similar"][0]
    assert (first["id"], first["region"], round(first["similarity"], 5)) == ("1.png", 0, 1.0)
    assert "1.png, region 0 (not among the scenes)" in page.read_text()
    run = here("similar", made, "--to", "2.png", *box, "--scenes", few, "--json", *CPU)
    assert json.loads(run.stdout)["similar"][0]["id"] == "2.png"
    for words, said in [
        (("2.png", "--box", 5, 5, 5, 9, "--scenes", few), "the box 5 5 5 9 does not lie in 2.png of 160x120 px"),
        ((tmp_path / "other.png", "--region", 0), "give --box for an object"),
        (("2.png", "--region", 0, *box), "give one of them"),
        ((tmp_path / "other.png", "--backbone", OLD_RUN), "has other weights than those that"),
        ((labels, *box), "nor a file"),
    ]:
        run = here("similar", made, "--to", *words, *CPU)
        assert said in run.stderr, run.stderr


def test_pages_escape_hostile_names(here, photos, tmp_path):
    page = tmp_path / "page.html"
    run = here("similar", tmp_path / "vectors", "--to", HOSTILE, "--page", page, "--scenes", photos)
    assert run.returncode == 0, run.stderr
    text = page.read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;" in text
    assert text.count("data:image/jpeg") == 11
    assert "\x1b" not in run.stdout


def test_duplicates_finds_copies_and_a_list_leaves_them_out(here, photos, tmp_path):
    file, page = tmp_path / "twice.txt", tmp_path / "twice.html"
    words = ("duplicates", tmp_path / "vectors", "--scenes", photos, "--threshold", 0.7)
    run = here(*words, "--out", file, "--page", page, "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    groups = [[one["id"] for one in group] for group in found["groups"]]
    assert sorted(group[0].partition(" ")[0].removesuffix(".png") for group in groups) == ["1", "4"]
    assert all(len(group) == 9 for group in groups)
    assert (found["num_groups"], found["num_left_out"], found["num_split"]) == (2, 16, 0)
    assert sorted(read_list(file)) == sorted(one for group in groups for one in group[1:])
    run = here("pack", photos, "--bank", tmp_path / "bank", "--workers", 1)
    every = {ref.image_id for ref in list_scenes([photos])}
    assert len(every - set(read_list(file))) == NUM + 1
    assert page.read_text().count("<h2") == 2
    assert page.read_text().count(">kept<") == 2

    alone = json.loads(here("duplicates", tmp_path / "vectors", "--check", "none", "--threshold", -1, "--json").stdout)
    assert [len(group) for group in alone["groups"]] == [2 * 9 + NUM - 2 + 1]
    capped = json.loads(here(*words, "--max-group", 4, "--json").stdout)
    assert capped["num_split"] == 2
    assert capped["num_left_out"] == 16  # all pair with the one that is kept


def test_objects_are_compared_by_their_boxes(here, photos, tmp_path):
    run = here("duplicates", tmp_path / "vectors", "--scenes", photos, "--kind", "region", "--threshold", 0.9, "--json")
    assert run.returncode == 0, run.stderr
    for group in json.loads(run.stdout)["groups"]:
        assert len({one["id"].partition(" ")[0].removesuffix(".png") for one in group}) == 1
    run = here("duplicates", tmp_path / "vectors", "--kind", "region", "--check", "none", "--out", tmp_path / "l.txt")
    assert (run.returncode, "--out is a list of images" in run.stderr) == (2, True)


def test_pictures_that_cannot_be_compared_are_named(here, photos, tmp_path):
    (photos / "1.png").write_bytes(b"torn")
    run = here("duplicates", tmp_path / "vectors", "--scenes", photos, "--threshold", 0.7)
    assert "1 image cannot be used, and is in no group: 1.png (cannot decode" in run.stderr
    (photos / "4.png").unlink()
    run = here("duplicates", tmp_path / "vectors", "--scenes", photos, "--threshold", 0.7, "--json")
    assert run.returncode == 0, run.stderr
    assert "1 image of" in run.stderr
    assert "is not among the 24 scenes, and in no group: 4.png" in run.stderr
    groups = [[one["id"] for one in group] for group in json.loads(run.stdout)["groups"]]
    assert not {"1.png", "4.png"} & {one for group in groups for one in group}
    assert any(len(group) > 1 and all(one.startswith("4 ") for one in group) for group in groups)
    run = here("duplicates", tmp_path / "vectors")
    assert (run.returncode, "does not remember its scenes; name them with --scenes" in run.stderr) == (2, True)


def test_files_that_were_replaced_since_are_told(here, tmp_path):
    (photos := tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        photograph(1).save(photos / name)
    embed = ("--backbone", "small-cnn", "--image-px", 32, "--device", "cpu", "--workers", 1, "--out", tmp_path / "v")
    assert here("embed", photos, *embed).returncode == 0
    photograph(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "b.png")
    photograph(1).save(photos / "c.png")  # as it was, with another time
    run = here("duplicates", tmp_path / "v", "--json")
    assert "1 image cannot be used, and is in no group: b.png (it was replaced since it was embedded)" in run.stderr
    assert [[one["id"] for one in group] for group in json.loads(run.stdout)["groups"]] == [["a.png", "c.png"]]
    here("similar", tmp_path / "v", "--to", "a.png", "--page", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "b.png (it was replaced since it was embedded)" in page
    assert "c.png (it was replaced" not in page


@pytest.mark.parametrize("by", ["kmeans++", "facility-location"])
@pytest.mark.parametrize("kind", ["image", "region"])
def test_select_writes_a_list_that_scenes_takes(here, photos, tmp_path, by, kind):
    file = tmp_path / "some.txt"
    words = ("select", tmp_path / "vectors", "--num", 7, "--by", by, "--kind", kind, "--out", file)
    run = here(*words, "--scenes", photos, "--json")
    assert run.returncode == 0, run.stderr
    chosen = json.loads(run.stdout)["images"]
    assert chosen == read_list(file)
    assert [ref.image_id for ref in list_scenes([file])] == sorted(chosen)
    assert len({name.partition(" ")[0].removesuffix(".png") for name in chosen}) >= 6  # not one photograph again
    assert here(*words).returncode == 0
    assert read_list(file) == chosen
    run = here("select", tmp_path / "vectors", "--num", 999, "--out", file)
    assert (run.returncode, "999 images are asked for; there are 25" in run.stderr) == (2, True)


def test_names_that_are_not_utf8_are_looked_up_and_named(here, photos, tmp_path):
    odd = os.fsdecode(b"\xff\xfe.png")
    write_vectors(tmp_path / "odd", {portable(odd): np.ones((1, 4)), "other.png": np.ones((1, 4))})
    run = here("similar", tmp_path / "odd", "--to", odd, "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["query"]["id"] == portable(odd)
    run = here("similar", tmp_path / "vectors", "--to", tmp_path / odd)
    assert (run.returncode, "is neither an image of" in run.stderr) == (1, True)
    assert "unexpected" not in run.stderr


def test_a_folder_without_vectors_is_answered(here, tmp_path):
    write_vectors(tmp_path / "none", {"a.png": "broken"})
    for words in (("duplicates", "--check", "none"), ("select", "--num", 1, "--out", tmp_path / "l.txt")):
        run = here(words[0], tmp_path / "none", *words[1:])
        assert (run.returncode, "has no vectors of images" in run.stderr) == (2, True)
    run = here("similar", tmp_path / "none", "--to", "a.png")
    assert (run.returncode, "a.png is neither an image of" in run.stderr) == (1, True)

"""`samclr regions import` as typed: what is said, what stands in --json, and the exit status."""

import json

import pytest
from PIL import Image

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(folder / name)
    return folder


def write(path, names, scale=1, rows=()):
    size = {"height": HEIGHT * scale, "width": WIDTH * scale}
    square = [[v * scale for v in (4, 4, 20, 4, 20, 20, 4, 20)]]
    images = [{"id": k, "file_name": name, **size} for k, name in enumerate(names)]
    annotations = [{"id": k, "image_id": k, "segmentation": square} for k in range(len(names))]
    path.write_text(json.dumps({"images": images, "annotations": [*annotations, *rows]}))
    return path


def test_a_file_that_fits_says_nothing_and_passes_strict(photos, tmp_path, call):
    file = write(tmp_path / "x.json", ["a.png", "b.png"])
    out = tmp_path / "store"
    status, shown, said = call("regions", "import", file, "--scenes", photos, "--out", out, "--strict", "--json")
    assert status == 0
    found = json.loads(shown)
    assert found.pop("wall_s") > 0
    assert found == {"path": str(out), "num_images": 2, "num_new": 2, "errors": {}, "notes": []}
    assert said.splitlines()[-1].startswith("imported 2 of 2 images")
    assert call("regions", "verify", out)[0] == 0


def test_what_does_not_match_is_said_and_fails_under_strict(photos, tmp_path, call):
    file = write(tmp_path / "x.json", ["a.png", "cam2/b.png"], rows=[{"id": 9, "image_id": 0, "bbox": [1, 2, 3, 4]}])
    words = ("regions", "import", file, "--scenes", photos, "--out")
    status, _, said = call(*words, tmp_path / "one")
    assert status == 0
    assert "images of x.json without a scene, left out: 1 (cam2/b.png)" in said
    assert "scenes that the file does not name, stored without regions: 1 (b.png)" in said
    assert "skipped annotations that are boxes without a mask: 1" in said
    status, shown, _ = call(*words, tmp_path / "two", "--strict", "--json")
    assert status == 1
    counts = {note["key"]: (note["count"], note["names"]) for note in json.loads(shown)["notes"]}
    assert counts == {
        "unmatched": (1, ["cam2/b.png"]),
        "scenes_without_entry": (1, ["b.png"]),
        "boxes": (1, []),
    }


def test_skipped_annotations_alone_pass_strict(photos, tmp_path, call):
    file = write(tmp_path / "x.json", ["a.png", "b.png"], rows=[{"id": 9, "image_id": 0, "iscrowd": 1}])
    assert call("regions", "import", file, "--scenes", photos, "--out", tmp_path / "s", "--strict")[0] == 0


def test_sizes_that_differ_fail_until_the_scale_is_stated(photos, tmp_path, call):
    file = write(tmp_path / "x.json", ["a.png", "b.png"], scale=10)
    words = ("regions", "import", file, "--scenes", photos, "--out")
    status, _, said = call(*words, tmp_path / "one")
    assert status == 1
    assert "a.png: its entry in the file is 640x480 px, the photo 64x48; add --rescale" in said
    status, _, said = call(*words, tmp_path / "two", "--rescale", "--strict")
    assert (status, "failed" in said) == (0, False)
    status, _, said = call(*words, tmp_path / "two")
    assert (status, "name another folder for the new settings" in said) == (1, True)


def test_folders_in_the_files_names_are_stated(photos, tmp_path, call):
    file = write(tmp_path / "x.json", ["data/x/a.png", "data/x/b.png"])
    words = ("regions", "import", file, "--scenes", photos, "--out", tmp_path / "store", "--strict")
    status, _, said = call(*words)
    assert (status, "add --strip-prefix data/x/" in said) == (1, True)
    assert call(*words, "--strip-prefix", "data/x/")[0] == 0


def test_a_prefix_that_no_name_has_is_said(photos, tmp_path, call):
    file = write(tmp_path / "x.json", ["a.png", "b.png"])
    words = ("regions", "import", file, "--scenes", photos, "--out", tmp_path / "store", "--strict")
    status, _, said = call(*words, "--strip-prefix", "data/x")
    assert status == 0
    assert "images of x.json whose names do not begin with data/x, matched as they are: 2 (a.png, b.png)" in said


def test_a_file_of_boxes_alone_fails_with_the_count(photos, tmp_path, call):
    """A store without any region is of no use; masks may stand in another file."""
    file = tmp_path / "x.json"
    size = {"height": HEIGHT, "width": WIDTH}
    images = [{"id": k, "file_name": name, **size} for k, name in enumerate(("a.png", "b.png"))]
    boxes = [{"id": k, "image_id": k, "bbox": [1, 2, 3, 4]} for k in range(2)]
    file.write_text(json.dumps({"images": images, "annotations": boxes}))
    status, _, said = call("regions", "import", file, "--scenes", photos, "--out", tmp_path / "store")
    assert status == 1
    assert "skipped annotations that are boxes without a mask: 2" in said
    assert "annotations, of which none gave a region: 2" in said

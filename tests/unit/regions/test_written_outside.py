"""No command of regions writes into the scenes."""

import json

import pytest


@pytest.fixture
def made(scenes, tmp_path, call):
    """A store, and a file that is imported for one of its images."""
    call("segment", scenes, "--segmenter", "felzenszwalb", "--workers", 1, "--out", tmp_path / "store")
    image = {"id": 1, "file_name": "a/000.png", "height": 48, "width": 64}
    (tmp_path / "masks.json").write_text(json.dumps({"images": [image], "annotations": []}))
    return scenes, tmp_path


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (("regions", "import", "masks.json"), "store"),
        (("regions", "export", "store"), "masks.json"),
        (("regions", "export", "store", "--layout", "sa1b"), "masks"),
        (("look", "store"), "look.html"),
    ],
)
def test_what_lies_in_the_scenes_is_refused(made, call, monkeypatch, command, out):
    scenes, place = made
    monkeypatch.chdir(place)
    before = sorted(scenes.rglob("*"))
    status, _, said = call(*command, "--scenes", scenes, "--out", scenes / "a" / out)
    assert (status, sorted(scenes.rglob("*"))) == (2, before)
    assert f"--out {scenes / 'a' / out} is inside the scenes {scenes}; name a folder elsewhere" in said
    assert call(*command, "--scenes", scenes, "--out", place / f"new-{out}")[0] == 0

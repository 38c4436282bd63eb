"""Rows of a store against the scenes as they are now: what was replaced or turned since is seen by every reader."""

import io
import json
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

READERS = {
    "verify": lambda f: ("verify", f / "store"),
    "score": lambda f: ("score", f / "store", "--segmentations", f / "labels", "--json"),
    "export coco": lambda f: ("export", f / "store", "--out", f / "coco.json"),
    "export sa1b": lambda f: ("export", f / "store", "--out", f / "sa1b", "--layout", "sa1b"),
}


def write(folder, kind, **orientations):
    """Scenes a, b and c, with an EXIF orientation or, for 0, other pixels; as files or in a tar."""
    folder.mkdir(exist_ok=True)
    for name in "abc":
        orientation = orientations.get(name)
        exif = Image.Exif()
        if orientation:
            exif[274] = orientation
        seed = ord(name) + 9 * (orientation == 0)
        pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG" if kind == "files" else "TIFF", exif=exif)
        member = tarfile.TarInfo(f"{name}.tif")
        member.size = len(buffer.getvalue())
        if kind == "files":
            (folder / f"{name}.jpg").write_bytes(buffer.getvalue())
        else:
            with tarfile.open(folder / "s.tar", "w" if name == "a" else "a") as tar:
                tar.addfile(member, io.BytesIO(buffer.getvalue()))
    return folder if kind == "files" else folder / "s.tar"


@pytest.fixture(params=["files", "tar"])
def made(request, tmp_path, call):
    """Folder, kind and ids of three scenes with a store of their label maps, in which a square is labelled."""
    scenes = write(tmp_path / "scenes", request.param)
    ids = [f"{name}.jpg" if request.param == "files" else f"s.tar#{name}.tif" for name in "abc"]
    (tmp_path / "labels").mkdir()
    labels = np.ones((24, 32), np.uint8)
    labels[4:20, 4:20] = 2
    for image_id in ids:
        Image.fromarray(labels).save(tmp_path / "labels" / f"{image_id[:-4]}.png")
    words = ("segment", scenes, "--segmenter", "labels", "--labels", tmp_path / "labels", "--workers", 1)
    assert call(*words, "--out", tmp_path / "store")[0] == 0
    return tmp_path, request.param, ids, scenes


@pytest.mark.parametrize("reader", READERS)
def test_scenes_that_are_as_they_were_change_nothing(made, call, reader):
    folder, _, _, scenes = made
    words = ("regions", *READERS[reader](folder))
    without = call(*words)
    shutil.rmtree(folder / "sa1b", ignore_errors=True)
    assert call(*words, "--scenes", scenes) == without


def test_a_turned_and_a_replaced_image_are_named_and_left_out(made, call):
    folder, kind, ids, scenes = made
    write(folder / "scenes", kind, a=6, b=0)
    facts = [f"{ids[0]}: its row says 32x24 px, the image has 24x32 px", f"{ids[1]}: another file of the same size"]
    said_of_readers = (
        f"2 images were replaced since the region store {folder / 'store'} was made, and are left out: "
        f"{', '.join(facts)}; run samclr segment with --replace-changed to redo their rows"
    )
    status, faults, _ = call("regions", *READERS["verify"](folder), "--scenes", scenes)
    assert status == 1
    assert [line.split("; its row is in ")[0] for line in faults.splitlines()[:2]] == facts
    status, shown, said = call("regions", *READERS["score"](folder), "--scenes", scenes)
    assert (status, json.loads(shown)["num_images"]) == (0, 1)
    assert said_of_readers in said
    assert said_of_readers in call("regions", *READERS["export coco"](folder), "--scenes", scenes)[2]
    assert [image["file_name"] for image in json.loads((folder / "coco.json").read_text())["images"]] == ids[2:]
    assert said_of_readers in call("regions", *READERS["export sa1b"](folder), "--scenes", scenes)[2]
    assert len(list((folder / "sa1b").glob("*.json"))) == 1
    looked = call("look", folder / "store", "--scenes", scenes, "--out", folder / "look.html")[2]
    assert said_of_readers.replace("left out", "shown without regions") in looked
    page = (folder / "look.html").read_text()
    assert all(fact.split(": ")[1] in page for fact in facts)


def test_a_scene_that_is_gone_or_broken(made, call):
    folder, kind, ids, _ = made
    if kind == "tar":
        return  # a member cannot be gone without its shard
    (folder / "scenes" / "a.jpg").write_bytes(b"junk")
    (folder / "scenes" / "b.jpg").unlink()
    said = call("regions", *READERS["export coco"](folder), "--scenes", folder / "scenes")[2]
    assert f"1 images were replaced since the region store {folder / 'store'} was made, and are left out: a." in said
    assert f"1 images of {folder / 'store'} are not among the scenes: b.jpg" in said
    assert [image["file_name"] for image in json.loads((folder / "coco.json").read_text())["images"]] == ids[1:]


def test_an_import_of_a_replaced_photo_can_be_redone(made, call):
    folder, kind, ids, scenes = made
    assert call("regions", *READERS["export coco"](folder))[0] == 0
    words = ("regions", "import", folder / "coco.json", "--scenes", scenes, "--out", folder / "imported")
    assert call(*words)[0] == 0
    write(folder / "scenes", kind, b=0)
    status, _, said = call(*words)
    assert status == 1
    assert f"were replaced since {folder / 'imported'} was made: {ids[1]}" in said
    assert "run samclr regions import with --replace-changed to redo their rows" in said
    assert call(*words, "--replace-changed")[0] == 0
    assert call("regions", "verify", folder / "imported", "--scenes", scenes)[0] == 0

"""Named data sets through the commands, as a user types them: labels to regions, training, evaluation."""

import json

import pytest
from support.command import SMALL_FLAGS
from support.true_layouts import png, write_cityscapes, write_imagenette, write_stl10, write_tar


def test_from_cityscapes_to_imagenette_and_stl10(tmp_path, call, monkeypatch):
    write_cityscapes(tmp_path / "cityscapes")
    write_imagenette(tmp_path / "data")
    write_stl10(tmp_path / "data", None)
    monkeypatch.chdir(tmp_path)
    status, _, text = call(
        "segment", "cityscapes@cityscapes", "--segmenter", "labels", "--out", "regions", "--workers", 1
    )
    assert status == 0, text
    scenes = ("--scenes", "cityscapes@cityscapes", "--regions", "regions", "--bank", "bank")
    status, _, text = call("pretrain", "samclr", *scenes, "--out", "run", "--steps", 2, *SMALL_FLAGS)
    assert status == 0, text
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["config"]["data"]["scenes"] == [f"cityscapes:train@{tmp_path}/cityscapes"]
    sets = ("imagenette-160@data", "stl10@data")
    status, text, _ = call("evaluate", "run", "--on", *sets, "--image-px", 24, "--knn-k", 2, "--json")
    rows = json.loads(text)["results"]
    assert status == 0
    counts = [tuple(row["counts"][name] for name in ("num_train", "num_test", "num_classes")) for row in rows]
    assert {row["on"]: count for row, count in zip(rows, counts, strict=True)} == {
        "imagenette-160": (6, 3, 3),
        "stl10": (5, 4, 10),
    }
    status, text, _ = call("regions", "stats", "regions", "--json")
    assert (json.loads(text)["num_images"], json.loads(text)["errors"]) == (4, {})


def test_pre_training_on_tar_shards(tmp_path, call):
    for number in range(2):
        write_tar(tmp_path / f"shards/{number:06d}.tar", {f"{k}.png": png(4 * number + k) for k in range(4)})
    (tmp_path / "shards/000001.tar").write_bytes((tmp_path / "shards/000001.tar").read_bytes()[:2500])
    scenes = ("--scenes", tmp_path / "shards", "--bank", tmp_path / "bank")
    status, _, text = call("pretrain", "simclr", *scenes, "--out", tmp_path / "run", "--steps", 1, *SMALL_FLAGS)
    assert status == 0, text
    errors = json.loads((tmp_path / "run/summary.json").read_text())["errors"]
    assert "000001.tar" in errors
    assert all(image_id.startswith("000001.tar") for image_id in errors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pack", "cityscapes:val@{p}/cityscapes"), "Cityscapes has no split val in"),
        (("pack", "{p}/cityscapes"), "type cityscapes@"),
        (("pack", "cityscapes"), "cityscapes needs its root: type cityscapes@DIR"),
        (("pack", "imagnet@{p}"), "no data set is called imagnet; did you mean imagenette?"),
        (("evaluate", "small-cnn", "--on", "cifar10@{p}"), "is not a root of CIFAR-10: expected"),
        (("evaluate", "small-cnn", "--on", "cityscapes@{p}/cityscapes"), "Cityscapes has no class for each image"),
        (("segment", "cityscapes:test@{p}/cityscapes", "--segmenter", "labels", "--out", "{p}/s"), "add --labels DIR"),
    ],
)
def test_wrong_roots_splits_and_labels_are_one_sentence(tmp_path, call, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    root = write_cityscapes(tmp_path / "cityscapes")
    (root / "leftImg8bit/val").rename(root / "val")
    monkeypatch.chdir(root)
    status, _, text = call(*(argument.format(p=tmp_path) for argument in arguments))
    assert status in (1, 2)
    assert message in text
    assert text.startswith("samclr: error:")
    assert len(text.splitlines()) == 1

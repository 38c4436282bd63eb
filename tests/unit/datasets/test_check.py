"""`samclr data`: what is missing of a copy, on tiny sets in their true layouts."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.true_layouts import (
    write_ade20k,
    write_ade20k_full,
    write_bsds500,
    write_camvid,
    write_cifar10,
    write_cityscapes,
    write_imagenette,
    write_stl10,
)
from support.voc import write_voc

from samclr.cli.main import main
from samclr.datasets.catalogue import DATASETS
from samclr.datasets.check import check_set
from samclr.datasets.sources import list_scenes

TINY = {
    "cityscapes": {"train": 4, "val": 2, "test": 2},
    "ade20k": {"training": 3, "validation": 2},
    "ade20k-full": {"training": 2, "validation": 2},
    "camvid": {"train": 3, "val": 3, "test": 3},
    "bsds500": {"train": 2, "val": 2, "test": 2},
    "cifar10": {"train": 20, "test": 4},
    "stl10": {"train": 5, "test": 4, "unlabeled": 6},
    "imagenette-160": {"train": 6, "val": 3},
}
WRITE = {
    "cityscapes": write_cityscapes, "ade20k": write_ade20k, "ade20k-full": write_ade20k_full, "camvid": write_camvid,
    "bsds500": write_bsds500, "imagenette-160": write_imagenette,
}  # fmt: skip


def write(name, root, monkeypatch):
    if name in WRITE:
        return WRITE[name](root)
    return (write_cifar10 if name == "cifar10" else write_stl10)(root, monkeypatch)


def tiny(name):
    """The set as if its release had so many images."""
    data_set = DATASETS[name]
    splits = [dataclasses.replace(s, num_images=TINY[name].get(s.name, s.num_images)) for s in data_set.splits]
    return dataclasses.replace(data_set, splits=tuple(splits))


@pytest.mark.parametrize("name", TINY)
def test_a_whole_copy_is_complete(tmp_path, monkeypatch, name):
    found = check_set(tiny(name), write(name, tmp_path / "set", monkeypatch))
    assert (found.complete, found.faults) == (True, ())
    assert {one.split: one.images for one in found.splits if one.images} == TINY[name]
    assert [one.state for one in found.splits if not one.images] == ["absent, optional"] * (name == "cityscapes")


@pytest.mark.parametrize("name", TINY)
def test_too_few_images_are_counted(tmp_path, monkeypatch, name):
    found = check_set(DATASETS[name], write(name, tmp_path / "set", monkeypatch))
    split, (expected, count) = found.splits[0], (DATASETS[name].splits[0].num_images, next(iter(TINY[name].values())))
    assert not found.complete
    assert split.state == "incomplete"
    assert f"{count} images, the release has {expected:,}" in split.faults


def test_labels_are_held_against_images(tmp_path):
    root = write_cityscapes(tmp_path / "cs", extra=True, coarse=False)
    truth = root / "gtFine/train/aachen"
    (truth / "aachen_000000_000019_gtFine_labelIds.png").rename(truth / "aachen_000009_000019_gtFine_labelIds.png")
    Image.new("L", (9, 9)).save(truth / "aachen_000001_000019_gtFine_labelIds.png")
    splits = {one.split: one for one in check_set(tiny("cityscapes"), root).splits}
    assert (splits["train"].images, splits["train"].labels) == (4, 3)
    without, stray, size = splits["train"].faults
    assert without == "1 images have no label map: train/aachen/aachen_000000_000019_leftImg8bit.png"
    assert stray.startswith("1 label maps belong to no image: gtFine/train/aachen/aachen_000009")
    assert "label map aachen_000001_000019_gtFine_labelIds.png is 9x9 px, its image 64x48 px" in size
    assert (splits["val"].state, splits["val"].labels, splits["test"].labels) == ("complete", 2, None)
    assert splits["train_extra"].faults == ("2 images, the release has 19,998",)


def test_missing_label_maps_for_regions_are_named(tmp_path):
    """Where the maps of classes, which dense evaluation takes, are all there."""
    root = write_cityscapes(tmp_path / "cs")
    (root / "gtFine/train/aachen/aachen_000001_000019_gtFine_instanceIds.png").unlink()
    splits = {one.split: one for one in check_set(tiny("cityscapes"), root).splits}
    image = "train/aachen/aachen_000001_000019_leftImg8bit.png"
    assert (splits["train"].labels, splits["val"].state) == (4, "complete")
    assert splits["train"].faults == (f"1 images have no label map for regions: {image}",)
    refs = {ref.image_id: ref.label for ref in list_scenes([Path(f"cityscapes@{root}")])}
    assert [image_id for image_id, label in refs.items() if label is None] == [image]
    for path in root.glob("gtFine/*/*/*_instanceIds.png"):
        path.unlink()
    assert check_set(tiny("cityscapes"), root).splits[0].faults == ()  # classes, for all images alike
    folder = write_voc(tmp_path)
    shutil.rmtree(folder / "SegmentationObject")
    faults = {one.split: one.faults for one in check_set(DATASETS["voc2007"], tmp_path).splits}
    assert "4 images have no label map for regions: 000001.jpg" in faults["seg_train"][1]
    assert faults["train"] == ("8 images, the release has 2,501",)


def test_damaged_files_are_named_by_their_sums(tmp_path, monkeypatch):
    root = write_cifar10(tmp_path, monkeypatch)
    folder = root / "cifar-10-batches-py"
    (folder / "test_batch").write_bytes((folder / "data_batch_1").read_bytes())
    (folder / "data_batch_5").unlink()
    (folder / "batches.meta").write_bytes(b"")
    found = check_set(tiny("cifar10"), root)
    train, test = found.splits
    assert found.faults == ("batches.meta differs from the release (MD5)",)
    assert "the split train of CIFAR-10 lacks data_batch_5" in train.faults[0]
    assert test.faults == ("test_batch differs from the release (MD5)",)


def test_broken_images_are_found_in_the_sample(tmp_path):
    root = write_camvid(tmp_path / "camvid")
    (root / "images/val/0001TP_000001.jpg").write_bytes(b"")
    (root / "labels/test/0001TP_000002.png").write_bytes(b"x")
    splits = {one.split: one.faults for one in check_set(tiny("camvid"), root).splits}
    assert splits["train"] == ()
    assert splits["val"] == ("val/0001TP_000001.jpg: the file is empty",)
    assert "test/0001TP_000002.jpg: cannot decode label map 0001TP_000002.png" in splits["test"][0]


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0, *capsys.readouterr()


def test_the_command_says_what_is_missing_and_where_it_is_got(tmp_path, capsys, monkeypatch):
    root = write_camvid(tmp_path / "camvid", splits=("train", "test"))
    status, table, remark = call(capsys, "data", "check", "camvid", "--root", root)
    assert status == 1
    assert "val: CamVid has no split val in" in table
    assert "train: 3 images, the release has 367" in table
    assert "incomplete: CamVid, layout images/{train,val,test}/*" in remark
    assert "get it from: the SegNet tutorial's CamVid folder" in remark
    monkeypatch.setitem(DATASETS._specs, "bsds500", tiny("bsds500"))
    status, _, remark = call(capsys, "data", "check", "bsds500", "--root", write_bsds500(tmp_path / "bsds500"))
    assert (status, remark) == (0, "complete: BSDS500\n")


def test_the_command_as_json(tmp_path, capsys):
    status, text, _ = call(capsys, "data", "check", "ade20k", "--root", write_ade20k(tmp_path / "ade"), "--json")
    found = json.loads(text)
    assert (status, found["is_complete"], found["name"]) == (1, False, "ade20k")
    assert found["splits"][0] == {
        "split": "training", "num_images": 3, "num_expected": 20210, "num_labels": 3, "state": "incomplete"
    }  # fmt: skip
    status, text, _ = call(capsys, "data", "check", "stl10", "--root", tmp_path / "none", "--json")
    assert (status, json.loads(text)["root"]) == (1, None)
    assert "none is not a folder; expected the root of STL-10" in json.loads(text)["faults"][0]


@pytest.mark.parametrize("more", [(), ("--download",)])
def test_a_root_is_needed(capsys, more):
    status, _, text = call(capsys, "data", "check", "cifar10", *more)
    assert status == 2
    assert text == "samclr: error: no folder is given for cifar10: add --root DIR, or set $SAMCLR_DATA\n"


def test_the_root_is_looked_up_in_the_data_folder(tmp_path, capsys, monkeypatch):
    write_camvid(tmp_path / "camvid")
    monkeypatch.setenv("SAMCLR_DATA", str(tmp_path))
    assert "train: 3 images, the release has 367" in call(capsys, "data", "check", "camvid")[1]


def test_a_set_is_downloaded_into_the_data_folder(tmp_path, capsys, monkeypatch):
    places = []
    monkeypatch.setattr("samclr.datasets.download.download", lambda data_set, root: places.append(root))
    monkeypatch.setenv("SAMCLR_DATA", str(tmp_path))
    write_imagenette(tmp_path)
    _, table, _ = call(capsys, "data", "check", "imagenette-160", "--download")
    assert "train: 6 images, the release has 9,469" in table
    call(capsys, "data", "check", "imagenette-160", "--download", "--root", tmp_path / "other")
    assert places == [tmp_path, tmp_path / "other"]


def test_the_list_has_every_set(capsys):
    status, text, _ = call(capsys, "data", "list", "--json")
    rows = json.loads(text)["data_sets"]
    assert (status, [row["name"] for row in rows]) == (0, list(DATASETS))
    assert all(row["terms"] and row["got_at"] and row["layout"] for row in rows)
    assert "train* 2,975" in call(capsys, "data", "list")[1]

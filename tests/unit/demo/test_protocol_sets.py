"""The demo's held-out scenes as sets of every kind: each opens, and all say the same of a scene."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from samclr.config.kinds import KINDS
from samclr.config.registry import resolve
from samclr.demo.data import held_out_scenes, make_data, shuffled_digits
from samclr.demo.protocol_sets import CLASSES, FOLDERS, make_sets


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return make_sets(tmp_path_factory.mktemp("sets"))


def test_every_kind_opens_its_set(sets):
    opened = {kind: resolve(KINDS[kind].opens)(path) for kind, path in sets.items()}
    assert set(opened) == set(KINDS) - {"labelled"}
    assert [len(opened["dense"].train), len(opened["dense"].test)] == [120, 80]
    assert opened["dense"].train.classes == CLASSES
    assert [len(split.refs) for split in (opened["multilabel"].train, opened["multilabel"].test)] == [120, 80]
    assert len(opened["objects"].refs) == 80


def test_label_maps_lists_of_classes_and_instances_say_the_same(sets):
    scene = next(held_out_scenes(*shuffled_digits()))
    name = f"{scene.digits[0]:04d}.png"
    values = np.asarray(Image.open(sets["dense"] / "labels" / "train" / name))
    assert (values > 0).sum() == (scene.labels > 0).sum()
    rows = (sets["multilabel"] / "labels.csv").read_text().splitlines()
    (row,) = (row for row in rows if row.startswith(f"train/{name},"))
    has = {digit for digit, cell in enumerate(row.split(",")[1:]) if cell == "1"}
    assert has == set(scene.classes) == {int(value) - 1 for value in np.unique(values) if value}
    found = json.loads((sets["detection"] / "annotations" / "instances_train.json").read_text())
    (image,) = (one for one in found["images"] if one["file_name"] == name)
    instances = [one for one in found["annotations"] if one["image_id"] == image["id"]]
    assert [one["category_id"] - 1 for one in instances] == list(scene.classes)
    for number, one in enumerate(instances, start=1):
        size = one["segmentation"]["size"]
        decoded = coco_mask.decode(coco_mask.frPyObjects(one["segmentation"], *size))
        np.testing.assert_array_equal(decoded.astype(bool), scene.labels == number)
        assert one["area"] == decoded.sum()
        assert one["bbox"] == coco_mask.toBbox(coco_mask.frPyObjects(one["segmentation"], *size)).tolist()


def test_no_digit_of_them_stands_in_a_training_scene(tmp_path):
    make_data(tmp_path, 2)
    digits = {digit for scene in held_out_scenes(*shuffled_digits()) for digit in scene.digits}
    assert digits == {int(file.stem) for file in tmp_path.glob("digits/*/*/*.png")}
    assert min(digits) == 797


def test_what_is_there_is_not_written_again(sets):
    place = sets["dense"].parent
    before = {file: file.stat().st_mtime_ns for file in place.rglob("*.png")}
    assert make_sets(place) == sets == {kind: place / folder for kind, folder in FOLDERS.items()}
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*.png")} == before

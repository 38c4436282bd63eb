"""Sets of instances are opened whole, or refused with what is wrong; nothing is left out without a count."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from support.coco import write_coco
from support.instance_sets import change_json, write_instances
from support.scenes import write_labelled_scenes

from samclr.errors import EvaluationError
from samclr.evaluation.detection.instances import open_instances


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_instances(tmp_path / "shapes", train=4, val=2)


def test_a_set_as_it_is(root):
    found = open_instances(root)
    assert (found.name, found.classes, found.has_masks) == ("shapes", ("square", "disc"), True)
    assert [len(found.train), len(found.train.trained), len(found.val)] == [4, 3, 2]  # one without objects
    assert found.val.num_objects == 4  # the crowd is not counted
    crowded = found.val.images[0]
    assert crowded.is_crowd.tolist() == [False, False, True]
    for one in found.val.images:
        masks = coco_mask.decode([{"size": list(one.size), "counts": rle} for rle in one.rles])
        for mask, box in zip(masks.transpose(2, 0, 1), one.boxes_xyxy, strict=True):
            rows, columns = np.nonzero(mask)
            assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box.tolist()


def test_opening_loads_no_torch(root):
    code = (
        "import sys; from pathlib import Path; from samclr.evaluation.detection.instances import open_instances; "
        f"open_instances(Path({str(root)!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_names_of_coco_and_of_roboflow(tmp_path):
    root = write_instances(tmp_path / "a", train=2, val=1, empty=False)
    for split in ("train", "val"):
        (root / split).rename(root / f"{split}2017")
        file = root / "annotations" / f"instances_{split}.json"
        file.rename(file.with_name(f"instances_{split}2017.json"))
    assert len(open_instances(root).train) == 2
    for split in ("train", "val"):
        file = root / "annotations" / f"instances_{split}2017.json"
        file.rename(root / f"{split}2017" / "_annotations.coco.json")
    assert len(open_instances(root).val) == 1


def test_a_set_of_boxes(root):
    for split in ("train", "val"):
        change_json(root, split, lambda content: [one.pop("segmentation") for one in content["annotations"]])
    found = open_instances(root)
    assert not found.has_masks
    assert found.val.num_objects == 4


def test_classes_are_matched_by_name(root):
    def renumber(content):
        content["categories"] = [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
        for one in content["annotations"]:
            one["category_id"] = {3: 2, 7: 1}[one["category_id"]]

    before = [one.labels.tolist() for one in open_instances(root).val.images]
    change_json(root, "val", renumber)
    assert [one.labels.tolist() for one in open_instances(root).val.images] == before


@pytest.mark.parametrize("project", ["shapes", "disc"])
def test_the_root_of_roboflow_is_no_class(root, caplog, project):
    """Its exports begin with a category of no object, above all others, called as the project: maybe as a class is."""

    def with_root(content):
        classes = [one | {"supercategory": project} for one in content["categories"]]
        content["categories"] = [{"id": 0, "name": project, "supercategory": "none"}, *classes]

    expected = open_instances(root)
    for split in ("train", "val"):
        change_json(root, split, with_root)
    found = open_instances(root)
    assert found.classes == ("square", "disc")
    assert found.train.fingerprint == expected.train.fingerprint
    assert caplog.messages == [
        f"instances_{split}.json: category 0 ({project}) is the supercategory of others and of no object: no class"
        for split in ("train", "val")
    ]


def test_a_class_above_itself_or_with_objects_of_its_own_stays(root):
    """COCO's person has the supercategory person."""

    def above(content):
        square, disc = content["categories"]
        comet = {"id": 9, "name": "comet", "supercategory": "comet"}
        content["categories"] = [square, disc | {"supercategory": "square"}, comet]

    change_json(root, "train", above)
    assert open_instances(root).classes == ("square", "disc", "comet")


def test_what_is_left_out_is_counted(root, caplog):
    def odd(content):
        first = content["annotations"][0]
        content["annotations"] += [
            first | {"id": 91, "bbox": [5, 5, 0, 3]},
            first | {"id": 92, "bbox": [500, 5, 9, 9]},
            first | {"id": 96, "bbox": [127.9999999, 5, 20, 9]},  # 128 px wide: nothing in float32
            first | {"id": 93, "segmentation": []},
            first | {"id": 94, "segmentation": [[200, 5, 240, 5, 240, 50]]},  # outside its image
            first | {"id": 95, "image_id": 7},
        ]
        content["categories"].append({"id": 9, "name": "star"})

    change_json(root, "train", odd)
    before = open_instances(root)
    assert before.train.num_objects == 6
    assert caplog.messages == [
        "annotations that name no image of the file, left out: 1 (95 (image_id 7))",
        "instances_train.json: 3 objects whose box has no area in the image are left out",
        "instances_train.json: 2 objects without a mask are left out",
        "instances_train.json: 1 classes have no object to train on: star",
    ]


def test_a_mask_that_leaves_its_image_is_cut_off(root):
    def outside(content):
        one = content["annotations"][0]
        one |= {"segmentation": [[-20, -20, 30, -20, 30, 40, -20, 40]], "bbox": [-20, -20, 50, 60]}

    change_json(root, "val", outside)
    one = open_instances(root).val.images[0]
    assert one.clipped_xyxy[0].tolist() == [0, 0, 30, 40]
    assert coco_mask.area({"size": list(one.size), "counts": one.rles[0]}) == 30 * 40


def _no_objects(content):
    content["annotations"] = []


def _no_images(content):
    content["images"], content["annotations"] = [], []


def _star(content):
    content["categories"].append({"id": 4, "name": "star"})
    content["annotations"][0]["category_id"] = 4


def _set(name, value):
    return lambda content: content["annotations"][0].__setitem__(name, value)


def _lost(content):
    content["images"].append({"id": 1, "file_name": "../secret.png", "height": 96, "width": 128})
    content["images"].append({"id": 2, "file_name": "gone.png", "height": 96, "width": 128})


REFUSED = {
    "val without objects": ("val", _no_objects, "has no object with a box and a mask; expected some"),
    "val without images": ("val", _no_images, "names no image"),
    "train without objects": ("train", _no_objects, "has no object with a box"),
    "unknown class": ("val", _star, "has objects of 1 classes that .* does not name: star; a detector cannot find"),
    "a list as category": ("train", _set("category_id", [1]), r"category_id is \[1\]; expected one of the file's"),
    "no such category": ("train", _set("category_id", 5), "category_id is 5; expected one of the file's categories"),
    "odd box": ("train", _set("bbox", [1, 2, None, 4]), r"bbox is \[1, 2, null, 4\]; expected \[x, y, width, height\]"),
    "odd crowd": ("train", _set("iscrowd", 3), "iscrowd is 3; expected 0 or 1"),
    "odd mask": ("train", _set("segmentation", {"size": [96, 128], "counts": [5]}), "its runs do not add up to 128x96"),
    "missing images": ("train", _lost, r"2 of 6 images of .* are not in .*: \.\./secret.png, gone.png"),
    "no categories": ("val", lambda content: content.pop("categories"), "has no list of categories"),
    "twice": ("val", lambda content: content["categories"].append({"id": 7, "name": "cup"}), r"category 7 \(cup\)"),
    "no name": ("val", lambda content: content["categories"].append({"id": 8}), "expected an id and a name"),
    "another size": ("val", lambda content: content["images"][0].update(height=95), "it is 128x96 px upright, in the"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said(case, root):
    split, change, text = REFUSED[case]
    change_json(root, split, change)
    with pytest.raises(EvaluationError, match=text):
        open_instances(root)


def test_folders_that_are_no_sets(tmp_path, root):
    with pytest.raises(EvaluationError, match=r"no set of instances at .*nowhere: expected the folders"):
        open_instances(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(EvaluationError, match=r"has none of train2017, train: expected .*; found nothing"):
        open_instances(tmp_path / "bare")
    file = root / "annotations" / "instances_val.json"
    (file.with_name("instances_val_a.json")).write_bytes(file.read_bytes())
    file.rename(file.with_name("instances_val_b.json"))
    with pytest.raises(EvaluationError, match=r"has 2 files instances_val\*.json"):
        open_instances(root)
    file.with_name("instances_val_a.json").unlink()
    file.with_name("instances_val_b.json").unlink()
    with pytest.raises(EvaluationError, match="has val without its JSON file"):
        open_instances(root)


def test_a_broken_image(root):
    (root / "train" / "train_002.png").write_bytes(b"no image")
    with pytest.raises(EvaluationError, match=r"train_002.png: cannot decode"):
        open_instances(root)


def test_a_photo_that_is_turned_unseen(root, caplog):
    path = root / "val" / "val_000.png"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[274] = 3
        image.save(path, exif=exif)
    open_instances(root)
    assert "taken as drawn on the upright photo" in caplog.text


def test_fingerprints_tell_sets_apart(root):
    before = open_instances(root)
    change_json(root, "val", _set("bbox", [3, 3, 9, 9]))
    after = open_instances(root)
    assert before.train.fingerprint == after.train.fingerprint
    assert before.val.fingerprint != after.val.fingerprint
    assert before.val.subset(1, 0).fingerprint != before.val.fingerprint
    assert len(before.val.subset(9, 0)) == 2


def test_coco_by_its_name(tmp_path, monkeypatch):
    """In its true layout: crowds, an image without annotations, and ids with gaps."""
    write_coco(tmp_path / "coco")
    found = open_instances(Path(f"coco@{tmp_path / 'coco'}"))
    assert (found.name, found.classes) == ("coco", ("person", "dog", "toothbrush"))
    assert [len(found.train), len(found.train.trained), len(found.val)] == [3, 2, 2]
    assert sum(int(one.is_crowd.sum()) for one in found.train.images) == 2
    with pytest.raises(
        EvaluationError, match=r"COCO 2017 is trained on train2017 and .* val2017 for detection; type coco@"
    ):
        open_instances(Path(f"coco:unlabeled2017@{tmp_path / 'coco'}"))
    monkeypatch.setenv("SAMCLR_DATA", str(tmp_path))
    assert open_instances(Path("coco")).val.fingerprint == found.val.fingerprint
    with pytest.raises(EvaluationError, match=r"CamVid has no instances; use coco, .*voc2012, or a folder: expected"):
        open_instances(Path(f"camvid@{write_labelled_scenes(tmp_path / 'camvid')}"))


def test_other_pictures_of_the_same_size_are_another_split(tmp_path):
    """An uncompressed image has as many bytes as any other of its size; and what cannot be read is named."""
    root = write_instances(tmp_path / "shapes", train=2, val=1)
    for split in ("train", "val"):
        for path in (root / split).glob("*.png"):
            Image.open(path).save(path, "bmp")  # by its content, whatever it is called
    path = root / "val" / "val_000.png"
    size, before = path.stat().st_size, open_instances(root)
    prints = before.train.fingerprint, before.val.fingerprint
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path, "bmp")
    assert path.stat().st_size == size
    after = open_instances(root)
    assert after.train.fingerprint == prints[0]
    assert after.val.fingerprint != prints[1]
    path.unlink()
    with pytest.raises(EvaluationError, match=r"1 images cannot be read: val_000\.png \(.*\); fix or remove"):
        _ = replace(after.val).fingerprint


def test_images_without_a_name_and_a_test_split_for_validation_are_said(root, caplog):
    Image.new("RGB", (9, 9)).save(root / "train" / "more.png")
    (root / "val").rename(root / "test")
    (root / "annotations" / "instances_val.json").rename(root / "annotations" / "instances_test.json")
    open_instances(root)
    assert "1 images of" in caplog.text
    assert "that it does not name are left out: more.png" in caplog.text
    assert "has no split for validation: it is measured on its folder test/" in caplog.text

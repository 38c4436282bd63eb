"""VOC's XML: what torchvision reads is what is read, and what is wrong is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.voc import write_voc
from torchvision.datasets import VOCDetection

from samclr.datasets.catalogue import DATASETS
from samclr.datasets.check import check_set
from samclr.datasets.sources import list_scenes
from samclr.datasets.voc import CLASSES
from samclr.errors import EvaluationError
from samclr.evaluation.detection.opening import open_detection_set
from samclr.scenes.decode import load_scene

BOX = "<bndbox><xmin>2</xmin>"  # of the object of 000002


def theirs_of(root: Path, year: int, split: str) -> list[list[dict[str, Any]]]:
    """Objects of the images of a list, as torchvision parses them."""
    reader = VOCDetection(root, year=str(year), image_set=split)
    return [target["annotation"].get("object", []) for _, target in reader]


def as_boxes(objects: list[dict[str, Any]]) -> tuple[list[list[float]], list[int], list[bool]]:
    corners = [[float(one["bndbox"][name]) for name in ("xmin", "ymin", "xmax", "ymax")] for one in objects]
    return (
        [[x0 - 1, y0 - 1, x1, y1] for x0, y0, x1, y1 in corners],
        [CLASSES.index(one["name"]) for one in objects],
        [one.get("difficult", "0") == "1" for one in objects],
    )


@pytest.mark.parametrize(("year", "train", "test"), [(2007, "trainval", "test"), (2012, "train", "val")])
def test_boxes_are_those_that_torchvision_reads(tmp_path, year, train, test):
    folder = write_voc(tmp_path, year)
    found = open_detection_set(Path(f"voc{year}@{tmp_path}"))
    assert (found.name, found.classes, found.has_masks, found.by_voc) == (f"voc{year}", CLASSES, False, True)
    for split, ours in ((train, found.train), (test, found.val)):
        for one, objects in zip(ours.images, theirs_of(tmp_path, year, split), strict=True):
            boxes, labels, difficult = as_boxes(objects)
            assert (one.boxes_xyxy.tolist(), one.labels.tolist()) == (boxes, labels)
            assert (~one.counts).tolist() == difficult
            assert (one.size, one.rles, one.is_crowd.any()) == ((48, 64), (), False)
    assert sum(int((~one.counts).sum()) for one in found.train.images) > 0
    of_folder = open_detection_set(folder)
    assert of_folder.val.fingerprint == found.val.fingerprint


def test_an_object_is_its_box_alone(tmp_path):
    """Pixels are counted from 1 with the last one inside; the head of a person is no object, truncated is nothing."""
    folder = write_voc(tmp_path)
    text = (folder / "Annotations/000007.xml").read_text()
    assert text.count("<bndbox>") == 4
    assert text.count("<truncated>1") == 2
    (one,) = [one for one in open_detection_set(folder).train.images if one.ref.image_id == "000007.jpg"]
    assert [CLASSES[label] for label in one.labels] == ["aeroplane", "bicycle", "person"]
    assert (one.boxes_xyxy[:, 2:] - one.boxes_xyxy[:, :2]).tolist() == [[18, 18]] * 3
    pixels = load_scene(one.ref).pixels.astype(int)
    x0, y0, x1, y1 = one.boxes_xyxy[0].astype(int)  # an aeroplane is red
    red = pixels[..., 0] - pixels[..., 1]
    assert red[y0:y1, x0:x1].mean() > 120
    assert np.abs(red[y0:y1, x1 + 2 : x1 + 3].mean()) < 60


def test_both_years_together(tmp_path, caplog):
    """Trained on trainval of 2007 and 2012, tested on test of 2007."""
    for year in (2007, 2012):
        write_voc(tmp_path, year, count=4)
    found = open_detection_set(Path(f"voc0712@{tmp_path}"))
    years = [open_detection_set(Path(f"voc{year}@{tmp_path}")) for year in (2007, 2012)]
    assert (len(found.train), len(found.val)) == (16, 4)
    assert found.train.num_objects == years[0].train.num_objects + sum(
        split.num_objects for split in (years[1].train, years[1].val)
    )
    assert [one.boxes_xyxy.tolist() for one in found.val.images] == [
        one.boxes_xyxy.tolist() for one in years[0].val.images
    ]
    assert caplog.messages[0].startswith("Pascal VOC 2007 and 2012, trainval: 17 classes have no object to train on: ")
    assert found.train.images[-1].ref.image_id == "VOC2012/JPEGImages/2008_000008.jpg"
    refs = list_scenes([Path(f"voc0712@{tmp_path}")])
    assert [Path(ref.label.path).parent.name for ref in refs if ref.label] == ["SegmentationObject"] * 8
    checked = {one.split: (one.images, one.faults) for one in check_set(DATASETS["voc0712"], tmp_path).splits}
    assert checked["trainval"] == (16, ("16 images, the release has 16,551",))


def test_a_split_to_train_on(tmp_path):
    write_voc(tmp_path)
    assert len(open_detection_set(Path(f"voc2007:train@{tmp_path}")).train) == 8
    with pytest.raises(EvaluationError, match="trained on trainval or train and tested on test for detection"):
        open_detection_set(Path(f"voc2007:val@{tmp_path}"))
    with pytest.raises(EvaluationError, match=r"Pascal VOC 2007 and 2012: expected .*VOC2007/JPEGImages"):
        open_detection_set(Path(f"voc0712@{write_voc(tmp_path / 'late', 2012).parents[1]}"))
    with pytest.raises(EvaluationError, match="the split trainval of Pascal VOC 2012 has no list in"):
        open_detection_set(Path(f"voc0712@{tmp_path}"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (BOX, "<bndbox><xmin>x</xmin>", r"000002.xml, object 1 has the box x, \d+, 19, \d+; expected the numbers xmin"),
        (BOX, "<bndbox>", "object 1 has the box None, "),
        (BOX, "<bndbox><xmin>nan</xmin>", "object 1 has the box nan, "),
        ("bicycle", "unicycle", r"object 1 is of the class unicycle; expected one of aeroplane, .*, tvmonitor$"),
        ("<difficult>0", "<difficult>maybe", "object 1: difficult is maybe; expected 0 or 1"),
        ("<width>64", "<width>48", r"000002.xml is of an image of 48x48 px; the image is 64x48 px upright"),
        ("</annotation>", "", "cannot read .*000002.xml: no element found"),
        ("annotation>", "html>", "000002.xml holds <html>; expected Pascal VOC's <annotation>"),
        ("<annotation>", '<?xml version="1.0" encoding="klingon"?><annotation>', "cannot read .*: unknown encoding"),
        (None, None, "000002.xml is missing: it has the boxes of its image"),
    ],
)
def test_damaged_annotations(tmp_path, old, new, message):
    file = write_voc(tmp_path) / "Annotations/000002.xml"
    file.write_text(file.read_text().replace(old, new)) if old else file.unlink()
    with pytest.raises(EvaluationError, match=message):
        open_detection_set(Path(f"voc2007@{tmp_path}"))


@pytest.mark.parametrize("left", ["99", "64.9999999"])  # 64 px wide: the latter is nothing in float32
def test_what_has_no_area_is_left_out_and_a_size_of_0_is_none(tmp_path, caplog, monkeypatch, left):
    monkeypatch.setattr("samclr.log._SAID", set())  # a process says it once
    file = write_voc(tmp_path) / "Annotations/000002.xml"
    text = file.read_text().replace(BOX, f"<bndbox><xmin>{left}</xmin>").replace("<xmax>19", "<xmax>120")
    file.write_text(text.replace("<width>64", "<width>0").replace("<height>48", "<height>0"))
    found = open_detection_set(Path(f"voc2007@{tmp_path}"))
    assert len(found.train.images[1].labels) == 0
    assert caplog.messages[0] == (
        "Pascal VOC 2007, trainval: 1 objects whose box has no area in the image are left out"
    )


def test_check_names_images_without_their_file(tmp_path):
    folder = write_voc(tmp_path)
    (folder / "Annotations/000017.xml").unlink()
    faults = {one.split: one.faults for one in check_set(DATASETS["voc2007"], tmp_path).splits}
    assert "1 images have no Annotations/ID.xml: 000017.jpg" in faults["test"]
    assert all("Annotations" not in fault for fault in faults["trainval"])


def test_check_reads_boxes_and_marks(tmp_path):
    """Those that are refused when a backbone is to be measured on them."""
    folder = write_voc(tmp_path)
    assert all(len(one.faults) == 1 for one in check_set(DATASETS["voc2007"], tmp_path).splits)  # its size
    file = folder / "Annotations/000017.xml"
    file.write_text(file.read_text().replace("<width>64</width>", "<width>48</width>", 1))
    for name in CLASSES[1:]:
        (folder / f"ImageSets/Main/{name}_trainval.txt").unlink()
    faults = {one.split: "; ".join(one.faults[1:]) for one in check_set(DATASETS["voc2007"], tmp_path).splits}
    assert "000017.jpg: " in faults["test"]
    assert "000017.xml is of an image of 48x48 px; the image is 64x48 px upright" in faults["test"]
    assert "bicycle_trainval.txt is missing: it says which images" in faults["trainval"]
    assert not any(text for split, text in faults.items() if split not in ("test", "trainval"))


def test_splits_without_objects(tmp_path):
    folder = write_voc(tmp_path)
    for number in range(17, 25):
        file = folder / f"Annotations/{number:06d}.xml"
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    with pytest.raises(EvaluationError, match="the split test of Pascal VOC 2007 has no object that counts"):
        open_detection_set(Path(f"voc2007@{tmp_path}"))
    for file in (folder / "Annotations").glob("*.xml"):
        file.write_text("<annotation></annotation>")
    with pytest.raises(EvaluationError, match="the split trainval of Pascal VOC 2007 has no object with a box"):
        open_detection_set(Path(f"voc2007@{tmp_path}"))

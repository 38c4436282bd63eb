"""What results call a set: the catalogue's name however it is typed, with the split where that is not the usual one."""

from pathlib import Path

import pytest
from support.coco import write_coco
from support.instance_sets import write_instances
from support.mat_sets import write_sbd
from support.scenes import write_labelled_scenes
from support.true_layouts import write_ade20k, write_bsds500, write_camvid
from support.voc import write_voc

from samclr.datasets.objects import open_objects
from samclr.evaluation.detection.opening import open_detection_set
from samclr.evaluation.inputs import open_dense_set


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMCLR_DATA", str(tmp_path))


def named(opens, *sources):
    return {opens(Path(one)).name for one in sources}


def test_one_set_has_one_name_however_it_is_typed():
    folder = write_voc(Path("data"), 2012).resolve()
    for opens in (open_dense_set, open_objects, open_detection_set):
        assert named(opens, "voc2012@data", folder, "data/VOCdevkit/VOC2012") == {"voc2012"}
    write_ade20k(Path("scenes"))
    assert named(open_dense_set, "ade20k@scenes", "scenes", Path("scenes").resolve()) == {"ade20k"}
    write_bsds500(Path("people"))
    assert named(open_objects, "bsds500@people", "people") == {"bsds500"}
    write_coco(Path("mscoco17"))
    assert named(open_detection_set, "coco@mscoco17", Path(f"coco@{Path('mscoco17').resolve()}")) == {"coco"}
    Path("mscoco17").rename("coco2017")
    assert named(open_detection_set, "coco@coco2017", "coco2017") == {"coco"}


def test_the_split_that_is_trained_on_is_named_where_it_is_not_the_usual_one():
    write_voc(Path("data"), 2012, augmented=True)
    write_voc(Path("data"), 2007)
    ids = [f"2008_{number:06d}" for number in range(1, 5)]
    write_sbd(Path("data"), {"train": ids[:2], "val": ids[2:], "train_noval": ids[:1]})
    for typed, name in (
        ("voc2012:trainaug", "voc2012:trainaug"),
        ("voc2012:seg_train", "voc2012"),
        ("voc2007:seg_train", "voc2007:seg_train"),
        ("voc2007:seg_trainval", "voc2007"),
        ("sbd:train_noval", "sbd:train_noval"),
        ("sbd", "sbd"),
    ):
        assert named(open_dense_set, f"{typed}@data") == {name}
    assert named(open_objects, "voc2012@data", "voc2012:trainaug@data") == {"voc2012"}  # nothing is trained
    assert named(open_detection_set, "voc2007:train@data", "voc2007@data") == {"voc2007:train", "voc2007"}


def test_sets_of_ones_own_are_called_as_their_folder():
    write_labelled_scenes(Path("streets"), 2)
    Path("streets/classes.txt").write_text("".join(f"thing {number}\n" for number in range(12)))
    assert named(open_dense_set, "streets", "camvid@streets") == {"streets"}
    write_camvid(Path("plain"))
    assert named(open_dense_set, "plain") == named(open_objects, "plain") == {"plain"}  # in CamVid's layout alone
    assert named(open_dense_set, "camvid@plain") == {"camvid"}
    write_instances(Path("shapes"))
    write_coco(Path("mine"))  # in COCO's layout alone
    assert named(open_detection_set, "shapes", "mine") == {"shapes", "mine"}

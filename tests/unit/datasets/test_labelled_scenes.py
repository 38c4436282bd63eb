"""Scenes with a class for each pixel, on tiny sets in their true layouts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.mat_sets import write_sbd
from support.true_layouts import (
    write_ade20k,
    write_ade20k_full,
    write_bsds500,
    write_camvid,
    write_cityscapes,
    write_imagenette,
)
from support.voc import write_voc
from torchvision.datasets import Cityscapes

from samclr.datasets.catalogue import DATASETS, IGNORED, Split
from samclr.datasets.labelled import open_labelled
from samclr.datasets.labelled_scenes import open_labelled_scenes, open_validation_scenes
from samclr.datasets.multilabel import open_multilabel
from samclr.datasets.named import cityscapes_spec
from samclr.datasets.objects import open_objects
from samclr.datasets.voc import CLASSES
from samclr.errors import EvaluationError
from samclr.evaluation.dense_features import scenes_fingerprint
from samclr.evaluation.detection.opening import open_detection_set
from samclr.scenes.decode import load_scene


def test_cityscapes_train_ids_are_those_of_torchvisions_table(tmp_path):
    root = write_cityscapes(tmp_path / "cs")
    table = {c.id: (c.name, c.train_id) for c in Cityscapes.classes}
    for split, scenes in zip(("train", "val"), open_labelled_scenes(root), strict=True):
        reader = Cityscapes(str(root), split=split, target_type="semantic")
        theirs = {path: np.asarray(reader[n][1]) for n, path in enumerate(reader.images)}
        assert len(scenes) == len(reader)
        for number, ref in enumerate(scenes.refs):
            expected = np.vectorize(lambda value: table[value][1])(theirs[ref.path])
            assert (scenes.label_map(number) == expected).all()
            assert scenes.label_map(number).shape == load_scene(ref).pixels.shape[:2]
    names = {train_id: name for name, train_id in table.values() if 0 <= train_id < IGNORED}
    assert tuple(names[k] for k in range(19)) == cityscapes_spec.CLASSES
    assert scenes.lookup == tuple(table[value][1] for value in range(34))


def test_ade20k_has_150_classes_and_ignores_other(tmp_path):
    train, test = open_labelled_scenes(write_ade20k(tmp_path / "ADEChallengeData2016"))
    assert (len(train), len(test), len(train.classes), train.classes[149]) == (3, 2, 150, "thing 150")
    raw = np.asarray(Image.open(train.label_paths[0])).astype(int)
    assert (train.label_map(0) == np.where(raw == 0, IGNORED, raw - 1)).all()
    assert open_labelled_scenes(tmp_path)[0].label_paths == train.label_paths
    (tmp_path / "ADEChallengeData2016/objectInfo150.txt").unlink()
    assert open_labelled_scenes(Path(f"ade20k@{tmp_path}"))[0].classes[:2] == ("1", "2")


def test_camvid_has_11_classes_and_a_test_split(tmp_path, monkeypatch):
    write_camvid(tmp_path / "camvid")
    monkeypatch.setenv("SAMCLR_DATA", str(tmp_path))
    train, test = open_labelled_scenes(Path("camvid"))
    assert [ref.image_id.split("/")[0] for ref in (train.refs[0], test.refs[0])] == ["train", "test"]
    assert (len(train.classes), np.unique(train.label_map(0)).tolist()) == (11, [0, 3, 10, IGNORED])


def test_a_folder_of_ones_own_with_its_classes(tmp_path):
    write_camvid(tmp_path / "own", splits=("train", "val"), void=255)
    (tmp_path / "own/classes.txt").write_text("\n".join(f"thing {k}" for k in range(12)) + "\n")
    train, test = open_labelled_scenes(tmp_path / "own")
    assert (len(train.classes), train.lookup, len(test)) == (12, None, 3)
    assert np.unique(test.label_map(0)).tolist() == [0, 3, 10, IGNORED]
    test.label_paths[0].unlink()
    with pytest.raises(
        EvaluationError, match=r"1 of 3 images of the set own, split val, have no label map: val/0001TP.*; expected im"
    ):
        open_labelled_scenes(tmp_path / "own")
    (tmp_path / "own/classes.txt").write_text("\n")
    with pytest.raises(EvaluationError, match=r"classes.txt names 0 classes; expected one a line, 1 to 255 of them"):
        open_labelled_scenes(tmp_path / "own")


def test_splits_of_other_names_are_to_be_stated(tmp_path, monkeypatch):
    """Of a set of another package."""
    root = write_camvid(tmp_path / "towns", splits=("learn", "exam"))
    splits = (Split(name="learn", num_images=3), Split(name="exam", num_images=3))
    towns = replace(DATASETS["camvid"], name="towns", folders=("towns",), splits=splits, scene_split="learn")
    monkeypatch.setitem(DATASETS._specs, "towns", towns)
    for opens in (open_labelled_scenes, open_validation_scenes):
        with pytest.raises(
            EvaluationError,
            match=r"has no split for dense tasks among .*: its labelled splits are learn, exam; state .* dense_splits",
        ):
            opens(Path(f"towns@{root}"))
    monkeypatch.setitem(DATASETS._specs, "towns", replace(towns, dense_splits=(("learn",), "exam")))
    assert len(open_labelled_scenes(Path(f"towns@{root}"))[1]) == 3


def test_a_set_of_ones_own_is_not_sent_to_where_camvid_is_got(tmp_path):
    root = write_camvid(tmp_path / "own", splits=("train",))
    (root / "classes.txt").write_text("\n".join(f"thing {k}" for k in range(12)) + "\n")
    with pytest.raises(EvaluationError, match=r"the set own has no split test .*; found train; see to its files$"):
        open_labelled_scenes(root)
    (root / "images/val").mkdir()
    with pytest.raises(
        EvaluationError, match=r"has no image in .*: expected images/{train,test}/\*, labels/.*; see to"
    ):
        open_labelled_scenes(root)


def test_a_value_of_no_class_is_ignored(tmp_path):
    root = write_camvid(tmp_path / "own", void=11)
    (root / "classes.txt").write_text("\ufeff-\r\n" + "".join(f"thing {k}\r\n" for k in range(11)), encoding="utf-8")
    train, test = open_labelled_scenes(root)
    assert (train.classes[0], len(train.classes), train.lookup) == ("thing 0", 11, (IGNORED, *range(11)))
    assert np.unique(test.label_map(0)).tolist() == [2, 9, 10, IGNORED]  # 0, 3, 10 and 11 in the file
    assert open_objects(root).maps(0, test.label_map(0).shape)[0][0].max() == 10  # 11 is no void here


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"road\n\ncar\n", r"classes.txt: line 2 is empty; expected the name of the class of the value 1, or - where"),
        (b"road\ncar\nroad\n", r"classes.txt names road twice"),
        (b"stra\xdfe\n", r"classes.txt is not text in UTF-8; fix or restore it"),
        (b"-\n-\n", r"classes.txt names 0 classes"),
        (b"a\n" * 300, r"classes.txt names 300 classes"),
    ],
)
def test_odd_lists_of_classes_are_refused(tmp_path, text, message):
    (write_camvid(tmp_path / "own") / "classes.txt").write_bytes(text)
    with pytest.raises(EvaluationError, match=message):
        open_labelled_scenes(tmp_path / "own")


def test_without_a_list_of_classes_it_is_said_what_labels_are_taken_for(tmp_path, caplog):
    write_camvid(tmp_path / "photos")
    open_labelled_scenes(tmp_path / "photos")
    assert "photos has no classes.txt: its labels are taken for those of CamVid" in caplog.text


def test_of_several_sets_in_a_folder_one_must_be_named(tmp_path):
    write_camvid(tmp_path / "camvid")
    assert open_labelled_scenes(tmp_path)[0].classes[0] == "sky"
    write_bsds500(tmp_path / "bsds500")
    assert open_labelled_scenes(tmp_path)[0].classes[0] == "sky"  # BSDS500 has no classes
    with pytest.raises(EvaluationError, match=r"holds several sets: type bsds500@.* or camvid@|camvid@.* or bsds500@"):
        open_objects(tmp_path)
    write_cityscapes(tmp_path / "cityscapes")
    with pytest.raises(EvaluationError, match=r"holds several sets: type ca.*@.* or c.*@"):
        open_labelled_scenes(tmp_path)
    for year in (2007, 2012):
        write_voc(tmp_path / "voc", year)
    with pytest.raises(EvaluationError, match=r"holds several sets: type voc2007@.* or voc2012@"):
        open_multilabel(tmp_path / "voc")


@pytest.mark.parametrize(
    ("opens", "source", "message"),
    [
        (
            open_labelled_scenes,
            "camvid:val",
            r"trained on train and tested on test for dense tasks; type camvid@.* of camvid:val$",
        ),
        (open_objects, "bsds500:train", r"tested on test for finding objects; type .* instead of bsds500:train"),
        (open_objects, "bsds500:val", r"BSDS500 is tested on test for finding objects; type bsds500@"),
        (
            open_multilabel,
            "voc2007:train",
            r"is trained on trainval and tested on test for classification .*; type voc2007@.* of voc2007:train$",
        ),
        (
            open_labelled,
            "imagenette-160:val",
            r"on train and tested on val for classification; type imagenette-160@",
        ),
    ],
)
def test_a_split_that_would_not_be_measured_is_refused(tmp_path, opens, source, message):
    write_camvid(tmp_path / "camvid")
    write_bsds500(tmp_path / "bsds500")
    write_voc(tmp_path, 2007)
    write_imagenette(tmp_path)
    opens(Path(f"{source.partition(':')[0]}@{tmp_path}"))
    with pytest.raises(EvaluationError, match=message):
        opens(Path(f"{source}@{tmp_path}"))


def test_a_split_that_is_stated_is_trained_on_or_refused(tmp_path):
    """Though it is the one that is meant where none is stated."""
    write_voc(tmp_path, 2012)
    write_voc(tmp_path, 2007)
    for opens in (open_labelled_scenes, open_multilabel, open_detection_set):
        opens(Path(f"voc2012@{tmp_path}"))
        with pytest.raises(EvaluationError, match=r"VOC 2012 is trained on .* and tested on .* of .*:trainval$"):
            opens(Path(f"voc2012:trainval@{tmp_path}"))
    with pytest.raises(EvaluationError, match=r"trained on seg_train or trainaug and tested on seg_val"):
        open_labelled_scenes(Path(f"voc2012:seg_trainval@{tmp_path}"))
    open_multilabel(Path(f"voc2007:trainval@{tmp_path}"))
    (tmp_path / "stl10_binary").mkdir()
    (tmp_path / "stl10_binary/train_X.bin").touch()
    with pytest.raises(EvaluationError, match=r"STL-10 is trained on train .* instead of stl10:unlabeled$"):
        open_labelled(Path(f"stl10:unlabeled@{tmp_path}"))


def test_no_set_is_tested_on_what_it_is_trained_on(tmp_path):
    """Each split that may be trained on for dense tasks, of each set whose splits have names of their own."""
    for year in (2007, 2012):
        write_voc(tmp_path, year, augmented=year == 2012)
    write_sbd(tmp_path / "sbd", {"train": ["2008_1"], "val": ["2008_2"], "train_noval": ["2008_1"]})
    roots = {"voc2007": tmp_path, "voc2012": tmp_path, "sbd": tmp_path / "sbd"}
    for data_set in DATASETS.values():
        if data_set.dense_splits is None:
            continue
        trained, tested = data_set.dense_splits
        assert tested not in trained
        for split in trained:
            if data_set.name in roots:  # the others' splits are folders, or lists of two names
                open_labelled_scenes(Path(f"{data_set.name}:{split}@{roots[data_set.name]}"))
        assert data_set.name in roots or len(trained) == 1, data_set.name


def test_images_that_are_trained_on_and_tested_on_are_refused(tmp_path, monkeypatch):
    folder = write_voc(tmp_path, 2007)
    spec = DATASETS["voc2007"]
    monkeypatch.setitem(DATASETS._specs, "voc2007", replace(spec, dense_splits=(("seg_trainval",), "seg_val")))
    with pytest.raises(
        EvaluationError,
        match=r"VOC 2007 is trained on seg_trainval and tested on seg_val, and 4 images are in both: 0000.*; restore",
    ):
        open_labelled_scenes(Path(f"voc2007@{tmp_path}"))
    for name in ("Main/trainval.txt", *(f"Main/{one}_trainval.txt" for one in CLASSES)):
        both = folder / "ImageSets" / name
        both.write_text(both.read_text() + (folder / "ImageSets" / name.replace("trainval", "test")).read_text())
    for opens in (open_multilabel, open_detection_set):
        with pytest.raises(EvaluationError, match=r"trained on trainval and tested on test, and 8 images are in both"):
            opens(Path(f"voc2007@{tmp_path}"))


def test_a_pair_that_cannot_be_read_is_named(tmp_path):
    for kind in ("label_paths", "refs"):
        train, _ = open_labelled_scenes(write_camvid(tmp_path / kind))
        gone = train.label_paths[0] if kind == "label_paths" else Path(train.refs[0].path)
        gone.unlink()
        with pytest.raises(EvaluationError, match=rf"{gone.name} cannot be read \(.*No such file"):
            scenes_fingerprint(train, [0])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda f: Image.new("L", (5, 4)).save(f),
            r"label map .* is 5x4 px, its image 64x48 px; they belong to different",
        ),
        (
            lambda f: Image.new("RGB", (64, 48)).save(f),
            r"has 3 channels \(RGB\); expected one channel .*png\)",
        ),
        (lambda f: Image.new("L", (64, 48), 12).save(f), r"has the value 12; expected 0 to 11, or 255 for unlabelled"),
        (lambda f: Image.fromarray(np.full((48, 64), 300, np.uint16)).save(f), r"has the value 300; expected 0 to 11"),
        (lambda f: f.write_bytes(b"no image"), r"cannot decode label map .*UnidentifiedImageError"),
    ],
)
def test_label_maps_that_do_not_fit_are_errors(tmp_path, harm, message):
    train, _ = open_labelled_scenes(write_camvid(tmp_path / "camvid"))
    harm(train.label_paths[1])
    assert train.label_map(0).dtype == np.uint8
    with pytest.raises(EvaluationError, match=message):
        train.label_map(1)


def test_a_label_map_of_a_turned_image_is_upright(tmp_path):
    train, _ = open_labelled_scenes(write_camvid(tmp_path / "camvid"))
    with Image.open(train.refs[0].path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(train.refs[0].path, exif=exif)
    with pytest.raises(EvaluationError, match="is 64x48 px, its image 48x64 px"):
        train.label_map(0)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "{p}/bsds",
            r"BSDS500 has no pixel classes to evaluate; use ade20k, camvid, cityscapes.* instead",
        ),
        ("{p}/full", "ADE20K, full has no pixel classes to evaluate"),
        (
            "{p}/none",
            r"no labelled scenes at .*/none: expected a root of ade20k, camvid, cityscapes.*; a name is looked up",
        ),
        ("{p}/empty", r"has no known layout: expected a root of .* and a classes.txt; found nothing"),
        ("{p}/cs", r"1 of 4 images of Cityscapes, split train, have no label map: train/aachen/aachen_000001_000019_"),
        ("{p}/trainonly", r"CamVid has no split test in .*: expected the folder .*images/test; found train, val"),
        ("citiscapes@{p}/cs", r"no data set is called citiscapes; did you mean cityscapes"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(tmp_path, source, message):
    write_bsds500(tmp_path / "bsds")
    write_ade20k_full(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    write_camvid(tmp_path / "trainonly", splits=("train", "val"))
    write_cityscapes(tmp_path / "cs")
    (tmp_path / "cs/gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(EvaluationError, match=message):
        open_labelled_scenes(Path(source.format(p=tmp_path)))

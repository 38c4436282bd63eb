"""SBD by name, from its own MATLAB files: what torchvision reads is what is read."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat
from support.mat_sets import VALUES, save, write_sbd
from support.scenes import box_scene
from support.voc import write_voc
from torchvision.datasets import SBDataset

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.catalogue import DATASETS
from samclr.datasets.check import check_set
from samclr.datasets.label_maps import NO_REGION, LabelError, read_label_regions, read_values
from samclr.datasets.labelled_scenes import open_labelled_scenes
from samclr.datasets.objects import open_objects
from samclr.datasets.sources import list_scenes
from samclr.errors import EvaluationError, ScenesError
from samclr.regions.segment import segment_scenes
from samclr.regions.store import row_to_regions
from samclr.scenes.fill import FillOptions

LISTS = {"train": ["2008_000002", "2008_000003"], "val": ["2008_000007"]}


def test_classes_are_those_that_torchvision_reads(tmp_path):
    folder = write_sbd(tmp_path, LISTS | {"train_noval": ["2008_000003"]})
    train, val = open_labelled_scenes(Path(f"sbd@{tmp_path}"))
    assert (len(train.classes), train.classes[0], train.classes[15]) == (21, "background", "person")
    for split, ours in (("train", train), ("val", val)):
        theirs = SBDataset(folder, image_set=split, mode="segmentation")
        assert [ref.path for ref in ours.refs] == theirs.images
        for number, (_, classes) in enumerate(theirs):
            assert (ours.label_map(number) == np.asarray(classes)).all()
    assert (val.label_map(0) == VALUES[box_scene(2)[1]]).all()
    assert len(open_labelled_scenes(Path(f"sbd:train_noval@{folder}"))[0]) == 1
    assert len(open_labelled_scenes(folder)[0]) == 2
    with pytest.raises(EvaluationError, match="SBD is trained on train or train_noval and tested on val"):
        open_labelled_scenes(Path(f"sbd:val@{folder}"))


def test_regions_are_the_objects(tmp_path):
    write_sbd(tmp_path, LISTS)
    refs = list_scenes([Path(f"sbd@{tmp_path}")])
    for ref in refs:
        theirs = loadmat(ref.label.path)["GTinst"][0]["Segmentation"][0].astype(int)
        ours = read_label_regions(ref.label, (48, 64))
        assert (ours == np.where(theirs == 0, NO_REGION, theirs)).all()
    store, _ = segment_scenes(refs, SegmenterConfig(segmenter="labels"), tmp_path / "regions", FillOptions())
    found = [row_to_regions(row) for _, rows in store.parts() for row in rows.to_pylist()]
    assert [[one.area_px for one in image.regions] for image in found] == [[14 * 14] * 3] * 2
    objects = open_objects(Path(f"sbd@{tmp_path}"))
    ((regions, classes),) = objects.maps(0, (48, 64))
    assert {int(classes[regions == number][0]) for number in (1, 2, 3)} == {1, 15, 20}


def test_check(tmp_path):
    folder = write_sbd(tmp_path, LISTS)
    spec = DATASETS["sbd"]
    sizes = {"train": 2, "val": 1, "train_noval": 9}
    tiny = replace(spec, splits=tuple(replace(one, num_images=sizes[one.name]) for one in spec.splits))
    found = check_set(tiny, tmp_path)
    assert found.complete, found
    assert [one.state for one in found.splits] == ["complete", "complete", "absent, optional"]
    (folder / "cls/2008_000007.mat").unlink()
    save(folder / "cls/2008_000002.mat", GTcls={"Segmentation": np.zeros((48, 63), np.uint8)})
    faults = [fault for one in check_set(tiny, tmp_path).splits for fault in one.faults]
    assert faults[0].startswith("2008_000002.jpg: label map 2008_000002.mat is 63x48 px, its image 64x48 px")
    assert faults[1] == "1 images have no label map: 2008_000007.jpg"
    shutil.rmtree(folder / "inst")
    train, val, _ = check_set(tiny, tmp_path).splits
    assert "2 images have no label map for regions: 2008_000002.jpg, 2008_000003.jpg" in train.faults
    assert (val.labels, val.faults) == (0, ("1 images have no label map: 2008_000007.jpg",))  # neither kind, said once
    (folder / "val.txt").unlink()
    with pytest.raises(ScenesError, match=r"SBD has no list val.txt in .*dataset$"):
        list_scenes([Path(f"sbd:val@{tmp_path}")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": np.zeros((4, 4))}, "it has the variables labels; expected one of GTcls, GTinst, LabelMap"),
        ({"GTcls": {"Segmentation": 1}, "LabelMap": [[1]]}, "it has the variables GTcls, LabelMap; expected one of"),
        ({"GTcls": {"Boundaries": 1}}, "its GTcls has no field Segmentation"),
        ({"GTcls": np.zeros((4, 4))}, "its GTcls has no field Segmentation"),
        ({"LabelMap": np.zeros((2, 3, 3))}, "its LabelMap is not a matrix of numbers"),
        ({"LabelMap": "classes"}, "its LabelMap is not a matrix of numbers"),
        ({"LabelMap": np.full((2, 3), 0.5)}, "its LabelMap has fractions; expected ids"),
        ({"LabelMap": np.full((2, 3), -1.0)}, r"label map x.mat has the value -1; expected ids of 0 to"),
        ({"LabelMap": np.zeros((3, 2))}, "label map x.mat is 2x3 px, its image 3x2 px; they belong to different"),
    ],
)
def test_odd_files(tmp_path, content, message):
    save(tmp_path / "x.mat", **content)
    with pytest.raises(LabelError, match=message):
        read_values(tmp_path / "x.mat", (2, 3))


def test_broken_files(tmp_path):
    path = tmp_path / "x.mat"
    with pytest.raises(LabelError, match=r"cannot read label map x.mat: no such file"):
        read_values(path, (2, 3))
    save(path, LabelMap=np.arange(6).reshape(2, 3))
    whole = path.read_bytes()
    assert read_values(path, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read_values(path, None).dtype == np.int64
    for damaged in (b"", b"no MATLAB file", whole[:150], whole[:-20], whole[:140] + bytes(20) + whole[160:]):
        path.write_bytes(damaged)
        with pytest.raises(LabelError, match=r"cannot read label map x.mat: "):
            read_values(path, (2, 3))
    path.write_bytes(whole[:124] + b"\x00\x02IM" + whole[128:])  # as the head of a version 7.3 is
    with pytest.raises(LabelError, match=r"it is of MATLAB's version 7.3 \(HDF5\); save it anew with -v7"):
        read_values(path, (2, 3))


def test_vocs_trainaug_from_the_raw_files(tmp_path):
    """Without the list that others made: VOC's train, and SBD without VOC's val. VOC's own maps go first."""
    folder = write_voc(tmp_path, 2012)
    of_voc = {name: (folder / f"ImageSets/Segmentation/{name}.txt").read_text().split() for name in ("train", "val")}
    others = [f"2008_{number:06d}" for number in (2, 4, 10)]
    write_sbd(tmp_path, {"train": [*of_voc["val"][:2], others[1]], "val": [others[0], others[2], of_voc["train"][0]]})
    train, test = open_labelled_scenes(Path(f"voc2012:trainaug@{tmp_path}"))
    assert [ref.image_id[:-4] for ref in train.refs] == [*of_voc["train"], *others]
    assert [path.suffix for path in train.label_paths] == [".png"] * 4 + [".mat"] * 3
    assert len(test) == 4
    place = train.label_paths[4].parents[1] / "cls/2008_000002.mat"
    assert (train.label_map(4) == loadmat(place)["GTcls"][0]["Segmentation"][0]).all()
    Image.open(train.refs[4].path).verify()
    with pytest.raises(ScenesError, match=r"trainaug.txt, or benchmark_RELEASE/dataset beside VOCdevkit; samclr data"):
        list_scenes([Path(f"voc2012:trainaug@{write_voc(tmp_path / 'alone', 2012)}")])


@pytest.mark.parametrize("beside_the_link", [True, False])
def test_sbd_lies_beside_vocdevkit_or_beside_a_link_to_it(tmp_path, monkeypatch, beside_the_link):
    folder = write_voc(tmp_path / "disk", 2012)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/VOCdevkit").symlink_to(folder.parent, target_is_directory=True)
    write_sbd(tmp_path / ("data" if beside_the_link else "disk"), {"train": ["2008_000002"], "val": ["2008_000004"]})
    monkeypatch.chdir(tmp_path)
    for root in ("data", "data/VOCdevkit/VOC2012", tmp_path / "data"):
        assert len(open_labelled_scenes(Path(f"voc2012:trainaug@{root}"))[0]) == 6

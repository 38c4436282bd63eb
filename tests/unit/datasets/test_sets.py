"""Scenes of the known data sets, on tiny sets in their true layouts."""

import os
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from PIL import Image
from support.open_images import write_open_images
from support.scenes import box_scene
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
from torchvision.datasets import CIFAR10, STL10, Cityscapes

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.bank.places import default_bank, refuse_inside_scenes
from samclr.cli.study import RunStudy
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.catalogue import DATASETS
from samclr.datasets.label_maps import NO_REGION, read_label_regions
from samclr.datasets.names import absolute, as_hub, parse_named
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError, UsageError
from samclr.regions.segment import segment_scenes
from samclr.regions.store import row_to_regions
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.fill import FillOptions
from samclr.scenes.reading import read_bytes
from samclr.scenes.remote import as_uri


def scenes_of(source: str):
    return list_scenes([Path(source)])


def test_cityscapes_is_read_as_torchvision_reads_it(tmp_path):
    root = write_cityscapes(tmp_path / "cs", extra=True)
    refs = scenes_of(f"cityscapes@{root}")
    assert [ref.image_id for ref in refs][:2] == [
        "train/aachen/aachen_000000_000019_leftImg8bit.png",
        "train/aachen/aachen_000001_000019_leftImg8bit.png",
    ]
    for split, mode in (("train", "fine"), ("val", "fine"), ("train_extra", "coarse")):
        reader = Cityscapes(str(root), split=split, mode=mode, target_type="instance")
        ours = {ref.path: ref for ref in scenes_of(f"cityscapes:{split}@{root}")}
        assert set(ours) == set(reader.images)
        for number, path in enumerate(reader.images):
            image, instances = reader[number]
            assert (load_scene(ours[path]).pixels == np.asarray(image)).all()
            regions, theirs = read_label_regions(ours[path].label, image.size[::-1]), np.asarray(instances).astype(int)
            void = np.isin(theirs, range(7))
            assert ((regions == NO_REGION) == void).all()
            assert (regions[~void] == theirs[~void]).all()


def test_cityscapes_without_coarse_labels_and_its_test_split_have_none(tmp_path):
    root = write_cityscapes(tmp_path / "cs", extra=True, coarse=False)
    for split in ("train_extra", "test"):
        refs = scenes_of(f"cityscapes:{split}@{root}")
        assert len(refs) == 2
        assert [ref.label for ref in refs] == [None, None]
    with pytest.raises(UsageError, match=r"these scenes have none: add `labels` DIR"):
        segment_scenes(refs, SegmenterConfig(segmenter="labels"), tmp_path / "store", FillOptions())


def test_both_layouts_of_ade20k(tmp_path):
    write_ade20k(tmp_path / "data" / "ADEChallengeData2016")
    write_ade20k_full(tmp_path / "data" / "ADE20K_2021_17_01")
    parsing, full = (scenes_of(f"{name}@{tmp_path / 'data'}") for name in ("ade20k", "ade20k-full"))
    assert [ref.image_id for ref in parsing] == [f"training/ADE_train_{k:08d}.jpg" for k in (1, 2, 3)]
    assert [ref.image_id for ref in full] == [f"training/urban/street/ADE_train_{k:08d}.jpg" for k in (1, 2)]
    assert len(scenes_of(f"ade20k:validation@{tmp_path / 'data'}")) == 2
    _, boxes = box_scene(1)
    assert (read_label_regions(parsing[0].label, boxes.shape) == np.array([NO_REGION, 1, 13, 150])[boxes]).all()
    numbers = [NO_REGION, 261 * 256 + 1, 261 * 256 + 2, 512 * 256 + 1]  # class 10 / 10 * 256 + 5, then its instances
    assert (read_label_regions(full[0].label, boxes.shape) == np.array(numbers)[boxes]).all()


@pytest.mark.parametrize(
    ("name", "write", "num_regions"),
    [("cityscapes", write_cityscapes, 4), ("ade20k", write_ade20k, 3), ("ade20k-full", write_ade20k_full, 3),
     ("camvid", write_camvid, 3), ("bsds500", write_bsds500, 4)],
)  # fmt: skip
def test_a_sets_own_labels_become_regions(tmp_path, name, write, num_regions):
    refs = scenes_of(f"{name}@{write(tmp_path / 'set')}")
    store, report = segment_scenes(refs, SegmenterConfig(segmenter="labels"), tmp_path / "store", FillOptions())
    assert report.errors == {}
    for row in store.read().to_pylist():
        regions = row_to_regions(row).regions
        assert len(regions) >= num_regions
        assert sum(region.area_px == 14 * 14 for region in regions) >= 2  # the boxes; a void strip may cut one


def test_stl10_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    root = write_stl10(tmp_path, monkeypatch)
    for split in ("train", "test", "unlabeled"):
        reader = STL10(str(root), split=split)
        refs = scenes_of(f"stl10:{split}@{root}")
        assert len(refs) == len(reader)
        assert all((load_scene(ref).pixels == np.asarray(reader[n][0])).all() for n, ref in enumerate(refs))
    assert scenes_of(f"stl10@{root}")[0].image_id == "unlabeled/unlabeled_X.bin#0"


def test_cifar10_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    root = write_cifar10(tmp_path, monkeypatch)
    for split in ("train", "test"):
        reader = CIFAR10(str(root), train=split == "train")
        refs = scenes_of(f"cifar10:{split}@{root}")
        assert len(refs) == len(reader)
        assert all((load_scene(ref).pixels == np.asarray(reader[n][0])).all() for n, ref in enumerate(refs))


def test_images_of_arrays_are_packed_like_files(tmp_path, monkeypatch):
    refs = scenes_of(f"stl10@{write_stl10(tmp_path / 'data', monkeypatch)}")
    _, report = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    bank = SceneBank(tmp_path / "bank", refs)
    assert (report.errors, bank.num_images) == ({}, 6)
    assert all((bank.level(n, 0) == load_scene(ref).pixels).all() for n, ref in enumerate(refs))
    _, again = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    assert again.num_new == 0


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch):
    root = write_cifar10(tmp_path, monkeypatch)
    harm = b"cos\nsystem\n(S'touch " + str(tmp_path / "harmed").encode() + b"'\ntR."
    (root / "cifar-10-batches-py/data_batch_2").write_bytes(harm)
    broken = [ref for ref in scenes_of(f"cifar10@{root}") if "data_batch_2" in ref.path]
    assert len(broken) == 1
    with pytest.raises(DecodeError, match=r"not a CIFAR batch \(UnpicklingError: .*os.system"):
        load_scene(broken[0])
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("size", [0, 1000])
def test_a_cut_stl10_file_is_one_broken_image(tmp_path, monkeypatch, size):
    root = write_stl10(tmp_path, monkeypatch)
    os.truncate(root / "stl10_binary/unlabeled_X.bin", size)
    (broken,) = scenes_of(f"stl10@{root}")
    with pytest.raises(DecodeError, match="not an STL-10 file"):
        load_scene(broken)


def test_imagenette_as_scenes(tmp_path):
    refs = scenes_of(f"imagenette-160@{write_imagenette(tmp_path)}")
    assert len(refs) == 6
    assert refs[0].image_id == "train/n01440764/n01440764_0.JPEG"
    assert read_bytes(refs[0]) == Path(refs[0].path).read_bytes()


def test_splits_of_one_set_are_joined_under_their_names(tmp_path):
    root = write_cityscapes(tmp_path / "cs")
    sources = [Path(f"cityscapes:{split}@{root}") for split in ("val", "train")]
    ids = [ref.image_id for ref in list_scenes(sources)]
    assert ids == [ref.image_id for ref in list_scenes(sources[::-1])]
    assert {image_id.split("/")[0] for image_id in ids} == {"cityscapes-train", "cityscapes-val"}


def test_a_name_alone_is_looked_up_in_the_data_folder(tmp_path, monkeypatch):
    write_camvid(tmp_path / "data" / "camvid")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScenesError, match=r"camvid needs its root: type camvid@DIR, or set \$SAMCLR_DATA"):
        scenes_of("camvid")
    monkeypatch.setenv("SAMCLR_DATA", "data")
    assert len(scenes_of("camvid:val")) == 3
    assert absolute(Path("camvid")) == Path(f"camvid:train@{tmp_path}/data/camvid")
    names = {"on": ("a=camvid",), "dense_on": ("b=camvid:train",), "scenes": ("c=camvid",)}
    studied = RunStudy(study="smoke", out=tmp_path, **names)._given()
    assert studied.on == {"a": Path(f"camvid@{tmp_path}/data/camvid")}  # no split is stated
    assert studied.dense_on == {"b": Path(f"camvid:train@{tmp_path}/data/camvid")}
    assert studied.scenes == {"c": (absolute(Path("camvid")),)}


def test_a_source_means_the_same_from_every_folder(tmp_path, monkeypatch):
    write_camvid(tmp_path / "data" / "camvid")
    monkeypatch.chdir(tmp_path)
    bank = default_bank([Path("camvid@data/camvid")], None)
    monkeypatch.chdir(tmp_path / "data")
    assert default_bank([Path("camvid:train@camvid")], None) == bank
    assert default_bank([Path("camvid:val@camvid")], None) != bank
    with pytest.raises(UsageError, match="is inside the scenes"):
        refuse_inside_scenes(tmp_path / "data/camvid/store", [Path("camvid@camvid")], "--out")


def test_a_path_that_exists_is_that_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("camvid", "camvid@home"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "x.png")
        assert [ref.image_id for ref in scenes_of(name)] == ["x.png"]


def test_every_set_says_how_it_is_read():
    for data_set in DATASETS.values():
        assert data_set.split(data_set.scene_split)
        assert set(data_set.files) in (set(), {split.name for split in data_set.splits})
        assert ("dense" in data_set.uses) == (data_set.pixel_classes is not None)
        assert ("labelled" in data_set.uses) == (data_set.image_classes is not None)
        assert ("multilabel" in data_set.uses) == (data_set.multilabel is not None)
        assert ("detection" in data_set.uses) == (data_set.instances is not None or data_set.boxes is not None)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("citiscapes@{p}/cs", r"no data set is called citiscapes; did you mean cityscapes\? Otherwise give NAME\[:SPL"),
        ("cityscapes:trian@{p}/cs", "Cityscapes has no split trian; it has train, val, test, train_extra"),
        ("cityscapes@{p}/none", "none is not a folder; expected the root of Cityscapes, with leftImg8bit/SPLIT"),
        ("cityscapes@{p}/ade", r"is not a root of Cityscapes: expected .*/ade/leftImg8bit or .*; found annotations"),
        ("cityscapes:train_extra@{p}/cs", r"has no split train_extra in .*: expected the folder .*; found train"),
        ("cityscapes:val@{p}/cs", r"the split val of Cityscapes has no image in .*: expected leftImg8bit/SPLIT/CITY"),
        ("stl10@{p}/stl", r"the split unlabeled of STL-10 lacks unlabeled_X.bin in .*; samclr data check stl10 --root"),
        ("{p}/cs", r"is a root of Cityscapes, whose label maps are not scenes: type cityscapes@.*/cs for its split"),
        ("{p}/ade", r"is a root of ADE20K, scene parsing, whose label maps are not scenes: type ade20k@"),
        ("{p}/full", r"is a root of ADE20K, full, whose label maps are not scenes: type ade20k-full@"),
    ],
)  # fmt: skip
def test_wrong_roots_and_splits_say_what_to_type(tmp_path, source, message):
    write_cityscapes(tmp_path / "cs")
    for path in (tmp_path / "cs/leftImg8bit/val").rglob("*.png"):
        path.unlink()
    write_ade20k(tmp_path / "ade", names=False)
    write_ade20k_full(tmp_path / "full")
    write_stl10(tmp_path / "stl", None)
    (tmp_path / "stl/stl10_binary/unlabeled_X.bin").unlink()
    with pytest.raises(ScenesError, match=message):
        scenes_of(source.format(p=tmp_path))


VOC_ROOT = (
    r"VOC2007 is a root of Pascal VOC 2007, whose label maps are not scenes: type voc2007@.*VOC2007 for its split"
)
NO_SCENES = "holds label maps, which are not scenes: name"


@pytest.mark.parametrize(
    ("write", "source", "message"),
    [
        (lambda p: write_bsds500(p / "bsds"), "bsds", "BSDS500, whose label maps are not scenes: type bsds500@"),
        (lambda p: write_camvid(p / "own"), "own",
         rf"labels {NO_SCENES} .*images for its images alone, or type camvid@.*own if the set is CamVid$"),
        (lambda p: write_camvid(p / "camvid"), "", f"labels {NO_SCENES} .*images for"),
        (write_voc, "", VOC_ROOT),
        (write_voc, "VOCdevkit", VOC_ROOT),
        *((lambda p, masks=masks: write_open_images(p, masks), "",
           f"{NO_SCENES} a folder of images alone, or type open-images@.* if the set is Open Images")
          for masks in ("{split}-masks", "masks/{split}", "{split}-masks-{first}")),
    ],
)  # fmt: skip
def test_label_maps_are_not_scenes(tmp_path, write, source, message):
    write(tmp_path)
    with pytest.raises(ScenesError, match=message):
        scenes_of(str(tmp_path / source))
    with pytest.raises(ScenesError, match=f"file:///.*{NO_SCENES} (file:///|a folder of images alone)"):
        scenes_of(f"file://{tmp_path / source}")


def test_a_folder_of_labels_without_label_maps_changes_nothing(tmp_path):
    """YOLO's layout, and one that nobody filled."""
    write_camvid(tmp_path)
    for path in (tmp_path / "labels").rglob("*.png"):
        path.rename(path.with_suffix(".txt"))
    assert len(scenes_of(str(tmp_path))) == len(scenes_of(f"file://{tmp_path}")) == 9


def test_sources_of_the_hub_and_of_object_storage_are_known_with_the_separators_of_windows():
    assert as_hub(PureWindowsPath("hub:owner/name:test")) == as_hub(Path("hub:owner/name:test"))
    assert as_uri(PureWindowsPath("s3://bucket/scenes")) == "s3://bucket/scenes"
    assert parse_named(PureWindowsPath(r"cifar10:train@D:\data"))[1:] == ("train", Path(r"D:\data"))
    for local in (r"C:\scenes", r"C:scenes", r"D:\a@b\c", r"\\host\share\scenes"):
        path = PureWindowsPath(local)
        assert (as_hub(path), as_uri(path), parse_named(path)) == (None, None, None)

"""Pascal VOC in its true layout: as scenes, as regions, for dense evaluation, and its marks of several classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.voc import write_voc
from torchvision.datasets import VOCSegmentation

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.catalogue import DATASETS, IGNORED
from samclr.datasets.check import check_set
from samclr.datasets.label_maps import NO_REGION, read_label_regions
from samclr.datasets.labelled_scenes import open_labelled_scenes
from samclr.datasets.multilabel import open_multilabel
from samclr.datasets.sources import list_scenes
from samclr.datasets.voc import CLASSES
from samclr.errors import EvaluationError, ScenesError
from samclr.evaluation.detection.opening import open_detection_set
from samclr.regions.segment import segment_scenes
from samclr.regions.store import row_to_regions
from samclr.scenes.decode import load_scene
from samclr.scenes.fill import FillOptions


def stems(source: str) -> list[str]:
    return [ref.image_id.removesuffix(".jpg") for ref in list_scenes([Path(source)])]


def renamed(folder: Path, name: str) -> Path:
    return folder.rename(folder.parent / name)


def test_splits_are_those_of_the_release():
    sizes = {name: {one.name: one.num_images for one in DATASETS[name].splits} for name in ("voc2007", "voc2012")}
    main = {"train": 2501, "val": 2510, "trainval": 5011, "test": 4952}
    assert sizes["voc2007"] == main | {"seg_train": 209, "seg_val": 213, "seg_trainval": 422, "seg_test": 210}
    main = {"train": 5717, "val": 5823, "trainval": 11540, "trainaug": 10582}
    assert sizes["voc2012"] == main | {"seg_train": 1464, "seg_val": 1449, "seg_trainval": 2913}


@pytest.mark.parametrize("year", [2007, 2012])
def test_voc_is_read_as_torchvision_reads_it(tmp_path, year):
    folder = write_voc(tmp_path, year)
    for split in ("train", "val", "trainval", *(("test",) if year == 2007 else ())):
        reader = VOCSegmentation(tmp_path, year=str(year), image_set=split)
        refs = list_scenes([Path(f"voc{year}:seg_{split}@{tmp_path}")])
        assert [ref.path for ref in refs] == [str(path) for path in reader.images]
        for ref, (image, theirs) in zip(refs, reader, strict=True):
            assert (load_scene(ref).pixels == np.asarray(image)).all()
            objects = np.asarray(Image.open(folder / "SegmentationObject" / f"{Path(ref.path).stem}.png"))
            ours = read_label_regions(ref.label, image.size[::-1])
            assert ((ours == NO_REGION) == np.isin(objects, (0, 255))).all()
            assert (ours[ours != NO_REGION] == objects[ours != NO_REGION]).all()
            assert (ours != NO_REGION).sum() == (~np.isin(np.asarray(theirs), (0, 255))).sum()


def test_scenes_of_a_list(tmp_path):
    folder = write_voc(tmp_path)
    assert stems(f"voc2007@{tmp_path}") == (folder / "ImageSets/Main/trainval.txt").read_text().split()
    assert stems(f"voc2007:test@{folder}")[0] == "000017"
    with pytest.raises(ScenesError, match="is a root of Pascal VOC 2007, whose label maps are not scenes"):
        stems(str(folder))
    with pytest.raises(ScenesError, match=r"'2008_000001', Pascal VOC 2012's id, not one of Pascal VOC 2007"):
        stems(f"voc2007@{renamed(write_voc(tmp_path / 'later', 2012), 'voc')}")
    (folder / "JPEGImages/000003.jpg").unlink()
    with pytest.raises(ScenesError, match=r"the split train of .* lacks 1 of its 8 images in .*: 000003.jpg"):
        stems(f"voc2007:train@{tmp_path}")
    (folder / "ImageSets/Main/val.txt").write_text("000009\n000009\n")
    with pytest.raises(ScenesError, match="has 1 images twice"):
        stems(f"voc2007:val@{tmp_path}")
    (folder / "ImageSets/Main/val.txt").unlink()
    with pytest.raises(ScenesError, match=r"the split val of Pascal VOC 2007 has no list in .*Main/val.txt"):
        stems(f"voc2007:val@{tmp_path}")


def test_regions_are_the_objects(tmp_path):
    write_voc(tmp_path)
    refs = list_scenes([Path(f"voc2007:seg_train@{tmp_path}")])
    store, _ = segment_scenes(refs, SegmenterConfig(segmenter="labels"), tmp_path / "regions", FillOptions())
    found = [row_to_regions(row) for _, rows in store.parts() for row in rows.to_pylist()]
    assert sorted(len(one.regions) for one in found) == sorted(
        bin(int(ref.image_id[:6])).count("1") % 4 for ref in refs
    )
    assert {region.area_px for one in found for region in one.regions} == {16 * 16}


def test_images_without_a_map_of_their_objects_are_said_once(tmp_path, caplog):
    """Half of a split for detection, by design."""
    write_voc(tmp_path, 2012)
    write_voc(tmp_path)
    for source in ("voc2012", "voc2012:seg_val", "voc0712:test"):
        caplog.clear()
        refs = list_scenes([Path(f"{source}@{tmp_path}")])
        segment_scenes(refs, SegmenterConfig(segmenter="labels"), tmp_path / source.replace(":", "-"), FillOptions())
        said = [text for text in caplog.messages if "have no label map" in text]
        if source == "voc2012":
            assert said[0].startswith("8 of 16 images have no label map in their data set, and fail: 2008_000002.jpg, ")
            assert said[0].endswith(
                "; in the release, all have one in voc2012:seg_trainval@ROOT, voc2012:seg_train@ROOT or "
                "voc2012:seg_val@ROOT"
            )
        assert len(said) == (source != "voc2012:seg_val")
    assert "4 of 8 images have no label map" in said[0]
    assert "in the release" not in said[0]


def test_dense_splits(tmp_path):
    folder = write_voc(tmp_path, 2012, augmented=True)
    train, test = open_labelled_scenes(Path(f"voc2012@{tmp_path}"))
    assert (len(train), len(test), train.classes[0], len(train.classes)) == (4, 4, "background", 21)
    raw = np.asarray(Image.open(train.label_paths[0])).astype(int)
    assert (train.label_map(0) == np.where(raw == 255, IGNORED, raw)).all()
    more, again = open_labelled_scenes(Path(f"voc2012:trainaug@{tmp_path}"))
    assert (len(more), again.label_paths) == (8, test.label_paths)
    assert {path.parent.name for path in more.label_paths} == {"SegmentationClass", "SegmentationClassAug"}
    assert len(open_labelled_scenes(folder)[0]) == 4
    assert len(open_labelled_scenes(write_voc(tmp_path / "old"))[0]) == 8  # train and val of 2007
    with pytest.raises(EvaluationError, match=r"trained on seg_train or trainaug and .* or voc2012:trainaug@"):
        open_labelled_scenes(Path(f"voc2012:val@{tmp_path}"))


def test_marks_are_those_of_the_files(tmp_path):
    folder = write_voc(tmp_path)
    for place in (Path(f"voc2007@{tmp_path}"), folder, tmp_path):
        found = open_multilabel(place)
        assert (found.name, found.classes, found.train.labels.shape, len(found.test.refs)) == (
            "voc2007", CLASSES, (16, 20), 8,
        )  # fmt: skip
    for split, ours in (("trainval", found.train), ("test", found.test)):
        for k, name in enumerate(CLASSES):
            theirs = dict(row.split() for row in (folder / f"ImageSets/Main/{name}_{split}.txt").open())
            assert [str(mark) for mark in ours.labels[:, k]] == [theirs[ref.image_id[:6]] for ref in ours.refs]
    assert (found.train.labels == 0).sum() == 2
    assert len(open_multilabel(write_voc(tmp_path / "later", 2012)).test.refs) == 8  # val


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"person_trainval.txt is missing: it says which images of the split trainval show the class person"),
        ("000001 2\n", "has the line '000001 2'; expected an image and 1, -1 or 0"),
        ("000001 1\n000001 1\n", "has 1 images twice"),
        ("000001 1\n", "lacks 15 images of the split trainval: 000002"),
    ],
)
def test_damaged_marks(tmp_path, text, message):
    file = write_voc(tmp_path) / "ImageSets/Main/person_trainval.txt"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        open_multilabel(tmp_path)


def test_check_counts_lists(tmp_path):
    write_voc(tmp_path)
    found = check_set(DATASETS["voc2007"], tmp_path)
    by_split = {one.split: (one.images, one.labels, one.faults) for one in found.splits}
    assert by_split["seg_train"] == (4, 4, ("4 images, the release has 209",))
    assert by_split["train"] == (8, None, ("8 images, the release has 2,501",))
    found = check_set(DATASETS["voc2012"], write_voc(tmp_path / "later", 2012))
    assert found.splits[-1].state == "absent, optional"


def convert(folder: Path) -> None:
    """Pascal Context as mmsegmentation writes it."""
    for name in ("SegmentationClassContext", "ImageSets/SegmentationContext"):
        (folder / name).mkdir()
    for split in ("train", "val"):
        listed = (folder / f"ImageSets/Main/{split}.txt").read_text()
        (folder / f"ImageSets/SegmentationContext/{split}.txt").write_text(listed)
        for stem in listed.split():
            Image.new("L", (64, 48), 7).save(folder / f"SegmentationClassContext/{stem}.png")


@pytest.mark.parametrize("year", [2010, 2011])
def test_a_root_of_another_year_is_refused_by_its_name(tmp_path, year):
    folder = renamed(write_voc(tmp_path, 2012), f"VOC{year}")
    message = rf"VOC{year} is not a root of Pascal VOC 2012: it is called VOC{year}; rename it if it does hold Pascal V"
    for opens in (open_labelled_scenes, open_multilabel, open_detection_set):
        with pytest.raises(EvaluationError, match=message):
            opens(folder)
    with pytest.raises(ScenesError, match=message):
        stems(f"voc2012@{folder}")
    with pytest.raises(
        ScenesError, match=r"Object holds label maps, which are not scenes: name .*JPEGImages for its im.*alone$"
    ):
        stems(str(folder))
    assert message[:8] in check_set(DATASETS["voc2012"], folder).faults[0]


def test_pascal_context_is_known_by_its_maps(tmp_path):
    folder = renamed(write_voc(tmp_path, 2012), "VOC2010")
    convert(folder)
    assert len(open_labelled_scenes(folder)[0].classes) == 59
    with pytest.raises(EvaluationError, match=r"Pascal Context, 59 classes does not say several classes of an image"):
        open_multilabel(folder)
    for place in (tmp_path, tmp_path / "VOCdevkit"):
        assert len(open_labelled_scenes(place)[0].classes) == 59
    with pytest.raises(ScenesError, match=r"is a root of Pascal Context, 59 classes, whose label maps are not scenes"):
        stems(str(folder))
    later = write_voc(tmp_path, 2012)
    with pytest.raises(EvaluationError, match=r"holds several sets: type (pascal-context|voc2012)@.* or "):
        open_labelled_scenes(tmp_path)
    assert len(open_labelled_scenes(later)[0].classes) == 21
    (folder / "SegmentationClassContext").rename(folder / "elsewhere")
    assert len(open_labelled_scenes(tmp_path)[0].classes) == 21  # VOC2010 is then no set of its own
    convert(later)
    assert len(open_labelled_scenes(later)[0].classes) == 21  # called VOC2012
    assert len(open_labelled_scenes(renamed(later, "context"))[0].classes) == 59


def test_download_asks_torchvision_for_what_is_missing(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("torchvision.datasets.VOCDetection", lambda root, **given: asked.append(given["image_set"]))
    DATASETS["voc2007"].download(tmp_path)
    folder = write_voc(tmp_path)
    (folder / "ImageSets/Main/test.txt").unlink()
    DATASETS["voc2007"].download(tmp_path)
    assert asked == ["trainval", "test", "test"]


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject"])
def test_an_archive_of_which_a_file_is_missing_is_fetched_again(tmp_path, monkeypatch, folder):
    asked = []
    monkeypatch.setattr("torchvision.datasets.VOCDetection", lambda root, **given: asked.append(given["image_set"]))
    root = write_voc(tmp_path)
    DATASETS["voc2007"].download(tmp_path)
    assert asked == []
    next((root / folder).glob("000001.*")).unlink()
    DATASETS["voc2007"].download(tmp_path)
    assert asked == ["trainval"]

"""`regions score` reads a set's own label maps by that set's rule: ground truth scores 1 against itself."""

from pathlib import Path

import pytest
from support.coco import write_coco
from support.true_layouts import write_ade20k, write_bsds500, write_camvid, write_cityscapes
from support.voc import write_voc

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError
from samclr.regions.score import score_store
from samclr.regions.segment import segment_scenes
from samclr.regions.store import open_store
from samclr.scenes.fill import FillOptions
from samclr.storage.files import read_json, write_json
from samclr.storage.parts import MANIFEST, MANIFEST_COPY

VOC = "voc2012:seg_train@data"


def make_store(scenes, **settings):
    """Of scenes in this folder, here by the settings of `labels`."""
    config = SegmenterConfig(**({"segmenter": "labels"} | settings))
    return segment_scenes(list_scenes([Path(scenes)]), config, Path("store"), FillOptions(num_workers=1))[0]


def forget_notes(store):
    """As samclr made stores before it noted whose label maps they are of."""
    manifest = read_json(store.path / MANIFEST, {})
    assert manifest.pop("notes")
    for name in (MANIFEST, MANIFEST_COPY):
        write_json(store.path / name, manifest, sealed=True)
    return open_store(store.path)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("write", "scenes", "folder"),
    [
        (lambda root: write_voc(root, 2012), VOC, "data/VOCdevkit/VOC2012/SegmentationObject"),
        (write_camvid, "camvid:val@data", "data/labels"),
        (write_ade20k, "ade20k:validation@data", "data/annotations"),
        (write_cityscapes, "cityscapes:val@data", None),
        (write_coco, "coco:train2017@data", None),
        (write_coco, "coco-stuff:train2017@data", "data/stuffthingmaps"),
    ],
)
def test_ground_truth_scores_one_against_itself(caplog, write, scenes, folder):
    write(Path("data"))
    store = make_store(scenes, **({"annotations": "panoptic"} if scenes.startswith("coco:") else {}))
    sources = [Path(scenes), *([Path(folder)] if folder else [])]
    for source in sources:
        score = score_store(store, source)
        assert (score["best_covering"], score["recall_at_50"]) == (1, 1)
        assert score["num_images"] == score["num_human_segmentations"] == len(store.image_ids())
    assert caplog.text.count("read by the rule of") == len(sources) - 1


def test_stores_that_do_not_say_whose_maps_they_are_of_go_on_and_are_scored_by_name(caplog):
    write_voc(Path("data"), 2012)
    folder = Path("data/VOCdevkit/VOC2012/SegmentationObject")
    assert make_store(VOC).notes == {"label_rule": {"set": "voc2012", "kind": ""}}
    store = forget_notes(open_store(Path("store")))
    assert score_store(store, folder)["best_covering"] < 0.9
    assert "does not say by which rule: all their values count as segments; type NAME:SPLIT@ROOT" in caplog.text
    assert score_store(store, folder, ignore_label=(0, 255))["best_covering"] == 1
    assert score_store(store, Path(VOC))["best_covering"] == 1
    assert make_store("voc2012:seg_trainval@data").notes == {}


def test_values_that_are_given_are_ignored_beside_those_of_the_rule(caplog):
    write_camvid(Path("data"))
    store = make_store("camvid:val@data", ignore_label=(3,))
    for source in ("camvid:val@data", "data/labels"):
        assert score_store(store, Path(source))["best_covering"] == 1
    assert score_store(store, Path("camvid:val@data"), ignore_label=(4,))["best_covering"] < 0.9
    assert score_store(store, Path("data/labels"), ignore_label=(4,))["best_covering"] < 0.9  # as they stand


def test_any_store_is_scored_by_name_and_a_folders_by_the_ends_of_the_ids():
    write_coco(Path("data"))
    store = make_store("data/train2017", segmenter="felzenszwalb")
    score = score_store(store, Path("coco:train2017@data"))
    assert (score["num_images"], score["num_images_without_label_map"]) == (3, 0)
    assert 0 < score["best_covering"] < 1


def test_all_people_of_a_set_count():
    write_bsds500(Path("data"))
    store = make_store("bsds500:test@data", segmenter="felzenszwalb")
    by_name, by_folder = (score_store(store, Path(one)) for one in ("bsds500:test@data", "data/segmentations"))
    assert by_name["num_human_segmentations"] == 4
    assert by_name == by_folder | {"num_label_maps_left_out": 0}  # those of other splits


def test_sets_of_other_images_or_without_label_maps_are_refused():
    write_camvid(Path("data"))
    write_voc(Path("other"), 2012)
    store = make_store("camvid:val@data")
    with pytest.raises(
        ScenesError,
        match=r"none of the 4 images of voc2012:seg_train@other.* with label maps is an image of store: they are "
        r"2008_000001.jpg, .*; the store has val/0001TP_000000.jpg",
    ):
        score_store(store, Path("voc2012:seg_train@other"))
    with pytest.raises(ScenesError, match=r"its images are val/0001TP_000000.jpg, .* label maps type NAME:SPLI"):
        score_store(store, Path("other/VOCdevkit/VOC2012/SegmentationObject"))

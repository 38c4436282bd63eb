"""COCO and SA-1B out, read by pycocotools, and in again."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from support.scenes import write_scenes

from samclr.config.sam import MaskConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import PartsError
from samclr.regions import interchange
from samclr.regions.importing import import_regions
from samclr.regions.interchange import export_coco, export_sa1b
from samclr.regions.segment import segment_scenes
from samclr.regions.store import iterate_rows, open_store, row_to_regions, verify_store
from samclr.scenes.fill import FillOptions
from samclr.storage.parts import OK

MAKER = SegmenterConfig(scale=100.0, min_size=20)


@pytest.fixture
def made(tmp_path):
    refs = list_scenes([write_scenes(tmp_path / "scenes", 5)])
    store, _ = segment_scenes(refs, MAKER, tmp_path / "store", FillOptions())
    return refs, store


def regions_of(store):
    return {
        found.image_id: [(r.box_xyxy, r.area_px, r.rle, r.predicted_iou, r.point_xy) for r in found.regions]
        for found in (row_to_regions(row) for row in iterate_rows(store) if row["status"] == OK)
    }


def test_coco_is_read_by_pycocotools_and_comes_back_the_same(made, tmp_path):
    refs, store = made
    assert export_coco(store, tmp_path / "out" / "masks.json") == (5, sum(map(len, regions_of(store).values())))
    coco = COCO(tmp_path / "out" / "masks.json")
    for image in coco.loadImgs(coco.getImgIds()):
        expected = regions_of(store)[image["file_name"]]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert len(annotations) == len(expected) > 0
        for annotation, (box, area_px, rle, _, _) in zip(annotations, expected, strict=True):
            mask = coco.annToMask(annotation)
            assert mask.sum() == area_px == annotation["area"]
            assert annotation["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            assert coco_mask.encode(np.asfortranarray(mask))["counts"] == rle
    report = import_regions(tmp_path / "out" / "masks.json", refs, tmp_path / "back")
    assert report.errors == {}
    assert regions_of(open_store(tmp_path / "back")) == regions_of(store)
    assert verify_store(open_store(tmp_path / "back")) == []


def test_sa1b_round_trip_keeps_scores_and_points(tmp_path):
    refs = list_scenes([write_scenes(tmp_path / "scenes", 3)])
    masks = MaskConfig(points_per_side=6, pred_iou_thresh=0.0, stability_score_thresh=0.5)
    config = SegmenterConfig(segmenter="sam-digits", masks=masks)
    store, _ = segment_scenes(refs, config, tmp_path / "store", FillOptions())
    num_images, num_regions = export_sa1b(store, tmp_path / "json")
    assert (num_images, num_regions) == (3, sum(map(len, regions_of(store).values())))
    first = json.loads(sorted((tmp_path / "json").rglob("*.json"))[0].read_text())
    assert set(first["annotations"][0]) == {
        "id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "point_coords",
    }  # fmt: skip
    import_regions(tmp_path / "json", refs, tmp_path / "back")
    assert regions_of(open_store(tmp_path / "back")) == regions_of(store)


def test_an_export_stays_in_its_folder(made, tmp_path, monkeypatch):
    _, store = made
    first = next(row_to_regions(row) for row in iterate_rows(store))
    outside = [replace(first, image_id=name) for name in ("x/../../../OUTSIDE/evil.png", "/abs.png", "..", "")]
    monkeypatch.setattr(interchange, "_images", lambda *_: outside)
    export_sa1b(store, tmp_path / "deep" / "out")
    written = [path for path in tmp_path.rglob("*.json") if json.loads(path.read_text()).get("image")]
    assert len(written) == 4
    assert {path.parent for path in written} == {tmp_path / "deep" / "out"}
    twins = [replace(first, image_id=name) for name in ("A.jpg", "a.png")]
    monkeypatch.setattr(interchange, "_images", lambda *_: twins)
    with pytest.raises(PartsError, match=r"A\.jpg and a.png would share"):
        export_sa1b(store, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
    rows = [replace(first, image_id=f"train.parquet#{number}") for number in range(3)]
    monkeypatch.setattr(interchange, "_images", lambda *_: rows)
    assert export_sa1b(store, tmp_path / "rows")[0] == 3
    assert len(list((tmp_path / "rows").glob("train.parquet#*.json"))) == 3


def test_an_export_does_not_mix_with_an_earlier_one(made, tmp_path):
    _, store = made
    (tmp_path / "out").mkdir()
    num_images, _ = export_sa1b(store, tmp_path / "out")
    with pytest.raises(PartsError, match="out holds files already; name a new or empty folder"):
        export_sa1b(store, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.json"))) == num_images

"""COCO and SA-1B out and in, read by pycocotools; masks from elsewhere are checked before they are decoded."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from support import write_scenes

from samclr.errors import FilesError, PartsError
from samclr.fill import FillOptions
from samclr.parts import OK
from samclr.regions import interchange
from samclr.regions.interchange import export_coco, export_sa1b, import_regions
from samclr.regions.segment import segment_scenes
from samclr.regions.store import iterate_rows, open_store, row_to_regions, verify_store
from samclr.scenes.sources import list_scenes
from samclr.segmenter_config import MaskConfig, SegmenterConfig

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


def one_file(tmp_path, annotations, **image):
    scenes = write_scenes(tmp_path / "scenes", 2)
    refs = list_scenes([scenes])
    from PIL import Image

    with Image.open(refs[0].path) as opened:
        width, height = opened.size
    named = {"id": 7, "file_name": f"elsewhere/{refs[0].image_id}", "width": width, "height": height} | image
    path = tmp_path / "coco.json"
    rows = [{"id": k, "image_id": 7, "category_id": 1, **a} for k, a in enumerate(annotations(height, width))]
    path.write_text(json.dumps({"images": [named], "annotations": rows, "categories": []}))
    return path, refs


def test_polygons_and_uncompressed_runs(tmp_path):
    path, refs = one_file(
        tmp_path,
        lambda h, w: [
            {"segmentation": [[2, 3, 12, 3, 12, 9, 2, 9]], "score": 0.5},
            {"segmentation": {"size": [h, w], "counts": [h, 3, h * w - h - 3]}},
            {"segmentation": {"size": [h, w], "counts": [h * w]}},
        ],
    )
    import_regions(path, refs, tmp_path / "store")
    (first, second) = regions_of(open_store(tmp_path / "store"))[refs[0].image_id]  # the empty mask is no region
    assert first[:2] == ((2, 3, 12, 9), 60)
    assert first[3] == pytest.approx(0.5)
    assert second[:2] == ((1, 0, 2, 3), 3)
    assert regions_of(open_store(tmp_path / "store"))[refs[1].image_id] == []


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (lambda h, w: {"size": [h, w], "counts": [h * w - 1]}, "malformed RLE: its runs do not add up"),
        (lambda h, w: {"size": [h, w], "counts": [-5, h * w + 5]}, "malformed RLE: its runs do not add up"),
        (lambda h, w: {"size": [h, w], "counts": "0" * 400}, "malformed RLE: its runs do not add up"),
        (lambda h, w: {"size": [h, w], "counts": "\u00e9"}, "malformed RLE: counts are no text"),
        (lambda h, w: {"size": [h, w], "counts": "~~~~"}, "malformed RLE"),
        (lambda h, w: {"size": [w, h + 1], "counts": [h * w]}, "the image ["),
        (lambda h, w: [[1, 2, 3]], "malformed polygon"),
        (lambda h, w: [[1, 2, 3, 4, 5, float("nan")]], "malformed polygon"),
        (lambda h, w: [[0, 0, 1e9, 0, 1e9, 1e9]], "lies far outside"),
        (lambda h, w: [[0, 0, 1e300, 0, 5, 5]], "malformed polygon"),
        (lambda h, w: [[0, 0, 10**400, 0, 5, 5]], "malformed polygon"),
        (lambda h, w: {"size": None, "counts": [h * w]}, "the image ["),
        (lambda h, w: {"size": [h, w], "counts": 10**11}, "counts are no text"),
        (lambda h, w: "mask", "expected polygons, or an object with size and counts"),
    ],
)
def test_a_malformed_mask_is_refused_by_name(segmentation, message, tmp_path):
    good = {"segmentation": [[2, 3, 12, 3, 12, 9, 2, 9]]}
    path, refs = one_file(tmp_path, lambda h, w: [good, {"segmentation": segmentation(h, w)}])
    report = import_regions(path, refs, tmp_path / "store")
    assert list(report.errors) == [refs[0].image_id]
    assert report.errors[refs[0].image_id].startswith("annotation 1: ")
    assert message in report.errors[refs[0].image_id]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "holds a list; expected an object"),
        ("{", "is no JSON"),
        ("{}", "is no COCO JSON: expected an object with images and annotations"),
        ('{"images": [{"id": 1}], "annotations": []}', "is no sound COCO JSON: 'file_name' is missing"),
        ('{"images": [], "annotations": [{"image_id": 3}]}', "is no sound COCO JSON: 3 is missing"),
        ('{"images": [{"id": 1, "file_name": "zz.png"}], "annotations": []}', "none of the 1 images of .* as zz.png"),
    ],
)
def test_files_that_are_no_coco(content, message, tmp_path):
    refs = list_scenes([write_scenes(tmp_path / "scenes", 1)])
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(PartsError, match=message):
        import_regions(tmp_path / "x.json", refs, tmp_path / "store")


def test_a_name_that_fits_two_scenes_and_a_file_for_two_images(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 1)
    first = scenes / list_scenes([scenes])[0].image_id
    (scenes / "b").mkdir()
    (scenes / "b" / first.name).write_bytes(first.read_bytes())
    refs = list_scenes([scenes])
    (tmp_path / "x.json").write_text(json.dumps({"images": [{"id": 1, "file_name": first.name}], "annotations": []}))
    with pytest.raises(PartsError, match="none of the 1 images"):
        import_regions(tmp_path / "x.json", refs, tmp_path / "store")
    first.with_suffix(".webp").write_bytes(first.read_bytes())
    store, _ = segment_scenes(list_scenes([scenes]), replace(MAKER), tmp_path / "twins", FillOptions())
    with pytest.raises(PartsError, match="use --layout coco"):
        export_sa1b(store, tmp_path / "json")


@pytest.mark.parametrize("point", [[5, 5], [[]], [[1]], [[None, 1]], 5, "x", [[1e39, 1]], {"x": 1}])
def test_odd_points_cost_their_image_and_no_more(point, tmp_path):
    good = {"segmentation": [[2, 3, 12, 3, 12, 9, 2, 9]]}
    path, refs = one_file(tmp_path, lambda h, w: [{**good, "point_coords": point}])
    report = import_regions(path, refs, tmp_path / "store")
    assert "point_coords is" in report.errors[refs[0].image_id]


def test_an_export_stays_in_its_folder(made, tmp_path, monkeypatch):
    _, store = made
    first = next(row_to_regions(row) for row in iterate_rows(store))
    for image_id in ("x/../../../OUTSIDE/evil.png", "/abs.png", "..", ""):
        monkeypatch.setattr(interchange, "_images", lambda _, i=image_id: [replace(first, image_id=i)])
        with pytest.raises(FilesError, match="leads out of"):
            export_sa1b(store, tmp_path / "deep" / "out")
    twins = [replace(first, image_id=name) for name in ("A.jpg", "a.png")]
    monkeypatch.setattr(interchange, "_images", lambda _: twins)
    with pytest.raises(PartsError, match=r"A\.jpg and a.png would share"):
        export_sa1b(store, tmp_path / "out")
    rows = [replace(first, image_id=f"train.parquet#{number}") for number in range(3)]
    monkeypatch.setattr(interchange, "_images", lambda _: rows)
    assert export_sa1b(store, tmp_path / "rows")[0] == 3
    assert len(list((tmp_path / "rows").glob("train.parquet#*.json"))) == 3

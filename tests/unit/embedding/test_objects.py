"""The protocol `objects` on tiny sets in their true layouts, against `samclr embed` and loops."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.intervals import check_resampled
from support.scenes import write_labelled_scenes
from support.true_layouts import write_bsds500, write_camvid
from support.voc import write_voc

import samclr
from samclr.config import EvaluationConfig, IntervalConfig, ObjectsConfig
from samclr.config.embedding import EmbedConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.objects import open_objects
from samclr.datasets.sources import list_scenes
from samclr.embedding.objects.find import find_objects, same_segments
from samclr.errors import EvaluationError
from samclr.regions.segment import segment_scenes
from samclr.regions.store import row_to_regions
from samclr.scenes.fill import FillOptions

SMALL = ObjectsConfig(objects_px=48, objects_min_area_px=1)


def measured(on: object, name: str = "small-cnn", **settings: object) -> samclr.Result:
    small = ObjectsConfig(**{"objects_px": 48, "objects_min_area_px": 1} | settings)
    config = EvaluationConfig(interval=IntervalConfig(bootstrap=100), protocols=(small,))
    (result,) = samclr.evaluate(name, objects_on=Path(str(on)), config=config, device="cpu", untrained=True)
    return result


def test_colours_are_found_by_the_command(tmp_path, call):
    fields = write_labelled_scenes(tmp_path / "fields", 6)
    command = (
        "evaluate",
        "small-cnn",
        "--objects-on",
        fields,
        "--objects-px",
        48,
        "--bootstrap",
        100,
        "--device",
        "cpu",
    )
    status, shown, said = call(*command, "--json", "--out", tmp_path / "results.json")
    assert status == 0, said
    (row,) = json.loads(shown)["results"]
    scores = row["scores"]
    assert list(scores) == ["map", "precision_at_10", "map_class", "precision_at_10_class"]
    assert all(one["low"] <= one["value"] <= one["high"] for one in scores.values())
    assert scores["map"]["value"] > 0.6  # three colours
    assert row["counts"]["num_queries"] <= row["counts"]["num_objects"]
    details = json.loads((tmp_path / row["details"]).read_text())["protocols"]["objects"]
    check_resampled(details, scores)
    asked, precision = np.array(details["num_queries_by_class"][:3]), np.array(details["per_class_precision"][:3])
    assert (asked * precision).sum() / asked.sum() == pytest.approx(scores["precision_at_10"]["value"])
    assert precision.mean() == pytest.approx(scores["precision_at_10_class"]["value"])
    status, shown, _ = call(*command, "--objects-by", "crop")
    assert status == 0
    assert "P@10, classes" in shown


def test_objects_are_the_labels_regions(tmp_path):
    root = write_camvid(tmp_path / "camvid")
    refs = list_scenes([Path(f"camvid:test@{root}")])
    store, _ = segment_scenes(refs, SegmenterConfig(segmenter="labels"), tmp_path / "regions", FillOptions())
    theirs = {row["image_id"]: row_to_regions(row) for _, rows in store.parts() for row in rows.to_pylist()}
    objects = open_objects(root)
    for number, ref in enumerate(objects.refs):
        found = find_objects(objects, number, SMALL)
        expected = theirs[ref.image_id].regions
        assert {region.rle for region in found.regions.regions} == {region.rle for region in expected}
        labels = np.asarray(Image.open(ref.label.path))
        for place, k in enumerate(found.classes):
            assert (labels[found.regions.mask(place)] == k).all()
    few = find_objects(objects, 0, ObjectsConfig(objects_min_area_px=1, objects_per_image=2))
    assert len(few.classes) == 2
    assert len(find_objects(objects, 0, ObjectsConfig(objects_min_area_px=10_000)).classes) == 0


def test_instances_and_classes_of_voc(tmp_path):
    write_voc(tmp_path)
    objects = open_objects(Path(f"voc2007@{tmp_path}"))
    found = [find_objects(objects, number, SMALL) for number in range(len(objects.refs))]
    names = [[objects.classes[k] for k in one.classes] for one in found]
    assert all(set(one) <= {"aeroplane", "bicycle", "person"} for one in names)
    assert sum(map(len, names)) == sum((int(ref.image_id[:6]) & 7).bit_count() for ref in objects.refs)


def test_objects_of_some_images_are_not_mixed_with_classes_of_others(tmp_path):
    maps = sorted(write_voc(tmp_path).glob("SegmentationObject/*.png"))
    maps[-1].unlink()
    with pytest.raises(EvaluationError, match=rf"1 of 4 images have no label map for regions.*: {maps[-1].stem}.jpg"):
        open_objects(Path(f"voc2007@{tmp_path}"))


def test_a_set_of_ones_own_has_all_its_classes(tmp_path):
    root = write_camvid(tmp_path / "own", void=11)
    (root / "classes.txt").write_text("\n".join(f"thing {k}" for k in range(12)) + "\n")
    assert 11 in find_objects(open_objects(root), 0, SMALL).classes  # void in CamVid


def test_segments_that_people_drew(tmp_path):
    root = write_bsds500(tmp_path / "bsds500")
    for split in ("train", "val", "test"):  # a third person as the first, a pixel to the right
        for path in sorted((root / "segmentations" / split).glob("*_0.png")):
            Image.fromarray(np.roll(np.asarray(Image.open(path)), 1, 1)).save(path.with_name(path.name[:-5] + "2.png"))
    objects = open_objects(Path(f"bsds500@{root}"))
    found = [find_objects(objects, number, SMALL) for number in range(2)]
    assert [sorted(set(one.people.tolist())) for one in found] == [[0, 1, 2]] * 2
    like, first = same_segments(found), len(found[0].classes)
    likes = like(np.arange(first + len(found[1].classes)))
    assert not likes[:first, first:].any()
    for row in range(first):
        mask = found[0].regions.mask(row)
        for other in range(first):
            theirs = found[0].regions.mask(other)
            assert likes[row, other] == ((mask & theirs).sum() / (mask | theirs).sum() > 0.5)
    result = measured(root)
    assert list(result.scores) == ["map", "same_segment"]
    assert (result.counts["num_test"], result.counts["num_classes"]) == (2, 0)


def test_vectors_are_those_of_embed(tmp_path, monkeypatch):
    root = write_camvid(tmp_path / "camvid")
    refs = f"camvid:test@{root}"
    store = samclr.segment(refs, out=tmp_path / "regions", segmenter="labels")
    config = EmbedConfig(image_px=48, dtype="float32")
    vectors = samclr.embed(refs, "small-cnn", regions=store.path, out=tmp_path / "vectors", config=config, device="cpu")
    rows, theirs = vectors.rows("region").to_pylist(), vectors.matrix("region")
    seen = {}

    def spy(found, made, *rest):
        seen["found"], seen["made"] = found, made
        return scored(found, made, *rest)

    from samclr.embedding.objects import protocol
    from samclr.embedding.objects.scores import scored

    monkeypatch.setattr(protocol, "scored", spy)
    measured(root)
    ours = {}
    boxes = [(one.regions.image_id, region.box_xyxy) for one in seen["found"] for region in one.regions.regions]
    for place, vector in zip(boxes, seen["made"], strict=True):
        ours[place] = vector / np.linalg.norm(vector)
    assert len(rows) == len(boxes)
    for row, vector in zip(rows, theirs, strict=True):
        assert ours[row["id"], tuple(row["box_xyxy"])] == pytest.approx(vector, abs=1e-5)


def test_what_cannot_be_measured(tmp_path):
    root = write_camvid(tmp_path / "camvid")
    with pytest.raises(EvaluationError, match=r"camvid has 0 objects of 5000 px and more in 3 images"):
        measured(root, objects_min_area_px=5000)
    with pytest.raises(EvaluationError, match="no object has another of its kind to be found"):
        measured(root, objects_num_test=1)
    with pytest.raises(EvaluationError, match=r"does not accept images of .*, or give `objects_by` crop"):
        measured(root, "mixer_s32_224")
    (root / "images/test/0001TP_000001.jpg").write_bytes(b"no image")
    with pytest.raises(EvaluationError, match=r"0001TP_000001.jpg cannot be read"):
        measured(root)
    with pytest.raises(EvaluationError, match="no labelled scenes at"):
        measured(tmp_path / "none")
    bsds = write_bsds500(tmp_path / "bsds500")
    for path in (bsds / "segmentations/test").glob("*_1.png"):
        path.unlink()
    with pytest.raises(EvaluationError, match="2 of 2 images of BSDS500 have not two people's label maps"):
        measured(bsds)

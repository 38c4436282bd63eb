"""`--segmenter labels` on COCO's own annotations: masks held to pycocotools, panoptic segments to the map itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.coco import CROWD_ID, annotations_of, coloured, save, write_coco
from support.scenes import box_scene

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.catalogue import DATASETS
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError, UsageError
from samclr.regions.region_store import RegionStore
from samclr.regions.segment import segment_scenes
from samclr.scenes.fill import FillOptions

COCO = DATASETS["coco"]
FIRST = "train2017/000000000900.jpg"


def segment(root, out, split="train2017", workers=1, **settings):
    """Regions of each image, or why it has none."""
    config = SegmenterConfig(segmenter="labels", **settings)
    refs = list_scenes([Path(f"coco:{split}@{root}")])
    store, report = segment_scenes(refs, config, out, FillOptions(num_workers=workers))
    return dict(RegionStore(store.path)) | report.errors


def edited(root, change, split="train2017"):
    """A split's annotations with something changed."""
    path = COCO.instances(root, split)
    held = json.loads(path.read_text())
    change(held)
    path.write_text(json.dumps(held))


def masks_by_pycocotools(root, with_crowds):
    """Of each image, in the file's order."""
    from pycocotools import coco

    theirs = coco.COCO(str(COCO.instances(root, "train2017")))
    chosen = {
        f"train2017/{image['file_name']}": theirs.loadAnns(
            theirs.getAnnIds(number, iscrowd=None if with_crowds else False)
        )
        for number, image in theirs.imgs.items()
    }
    return {name: [theirs.annToMask(one).astype(bool) for one in found] for name, found in chosen.items()}


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("images", [".", "images"])
def test_instances_are_the_masks_of_pycocotools(tmp_path, caplog, crowds, images):
    root = write_coco(tmp_path / "coco", images)
    found = segment(root, tmp_path / "out", crowds=crowds)
    expected = masks_by_pycocotools(root, crowds)
    assert found.keys() == expected.keys()
    for image_id, masks in expected.items():
        assert len(found[image_id].regions) == len(masks)
        assert all((mine == his).all() for mine, his in zip(found[image_id].masks(), masks, strict=True))
    assert sorted(map(len, expected.values())) == ([0, 3, 3] if crowds else [0, 2, 2])
    assert ("2 crowds (iscrowd 1) gave no region" in caplog.text) is not crowds


def test_masks_that_overlap_or_have_several_parts_stay_whole(tmp_path):
    root = write_coco(tmp_path / "coco")
    two = [[0, 0, 60, 0, 60, 40, 0, 40], [62, 42, 64, 42, 64, 48, 62, 48]]
    edited(root, lambda held: held["annotations"][0].update(segmentation=two))
    found = segment(root, tmp_path / "out")[FIRST]
    assert [region.area_px for region in found.regions] == [60 * 40 + 12, 14 * 14]
    assert found.regions[0].box_xyxy == (0, 0, 64, 48)
    assert (found.masks()[0] & found.masks()[1]).any()


def test_panoptic_segments_are_pieces_of_the_map(tmp_path):
    root = write_coco(tmp_path / "coco")
    found = segment(root, tmp_path / "out", annotations="panoptic")
    labels = box_scene(900)[1].copy()
    labels[:2] = 9
    regions = found[FIRST].masks()
    assert (len(found), len(regions)) == (3, 4)
    assert {mask.tobytes() for mask in regions} == {(labels == k).tobytes() for k in range(4)}


def test_the_kind_is_kept_by_the_store_and_another_is_refused(tmp_path, caplog, call):
    root = write_coco(tmp_path / "coco")
    said = []
    for kind in ((), ("--annotations", "instances"), ("--annotations", "panoptic")):
        status, _, stderr = call("segment", f"coco@{root}", "--segmenter", "labels", "--out", tmp_path / "out", *kind)
        said.append((status, stderr))
    assert [status for status, _ in said] == [0, 0, 1]
    assert f"regions are the instances of {root}/annotations/instances_train2017.json" in said[0][1]
    assert all(f'"annotations": "{kind}"' in said[2][1] for kind in ("instances", "panoptic"))


def test_kinds_that_are_not_there_are_named(tmp_path):
    root = write_coco(tmp_path / "coco", panoptic=False)
    with pytest.raises(UsageError, match=r"none of the kind panoptic: add .annotations. instances, or .labels. DIR"):
        segment(root, tmp_path / "out", annotations="panoptic")
    with pytest.raises(UsageError, match=r"these scenes have none: add .labels. DIR"):
        segment(root, tmp_path / "out", split="test2017")
    with pytest.raises(UsageError, match="is for a data set's own labels"):
        segment(root, tmp_path / "out", annotations="panoptic", labels=root)
    root = write_coco(tmp_path / "other")
    COCO.instances(root, "train2017").unlink()
    with pytest.raises(UsageError, match=r"have none: add .annotations. panoptic, or .labels. DIR"):
        segment(root, tmp_path / "out")


def test_crowds_are_refused_where_they_change_nothing(tmp_path):
    root = write_coco(tmp_path / "coco")
    for others in ({"annotations": "panoptic"}, {"labels": root}):
        with pytest.raises(
            UsageError, match=r"`crowds` has no effect here: .* \(COCO's\), and these labels are others"
        ):
            segment(root, tmp_path / "out", crowds=True, **others)


def test_categories_can_be_left_out(tmp_path, caplog):
    root = write_coco(tmp_path / "coco")
    found = segment(root, tmp_path / "out", ignore_label=(18, 12))
    assert [len(one.regions) for one in found.values()] == [1, 1, 0]
    assert "no label map that was read holds 12 (`ignore_label`); they hold 1, 18, 90" in caplog.text


def test_a_category_that_is_no_number_is_not_left_out(tmp_path):
    root = write_coco(tmp_path / "coco")
    edited(root, lambda held: held["annotations"][0].update(category_id=[18]))
    found = segment(root, tmp_path / "out", ignore_label=(18,))
    assert [len(one.regions) for one in found.values()] == [1, 1, 0]


def test_worker_processes_read_their_own_annotations(tmp_path):
    root = write_coco(tmp_path / "coco")
    alone, together = (segment(root, tmp_path / f"{n}", workers=n) for n in (1, 2))
    assert {name: one.regions for name, one in alone.items()} == {name: one.regions for name, one in together.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held["images"].pop(0), "instances_train2017.json does not name this image"),
        (
            lambda held: held["images"][0].update(height=64),
            "its entry in instances_train2017.json is 64x64 px",
        ),
        (lambda held: held["annotations"][0].update(segmentation=[[1, 2, 3]]), "annotation 9001: malformed polygon"),
        (lambda held: held["annotations"][2].update(segmentation={"counts": [5], "size": [48, 64]}), "malformed RLE"),
        (
            lambda held: held["annotations"][0].update(iscrowd="yes"),
            "annotation 9001: iscrowd is",
        ),
    ],
)
def test_what_is_wrong_with_an_image_is_its_rows_error(tmp_path, change, said):
    root = write_coco(tmp_path / "coco")
    edited(root, change)
    found = segment(root, tmp_path / "out", crowds=True)
    assert said in found[FIRST]
    assert sum(isinstance(one, str) for one in found.values()) == 1


def test_files_cut_short_stop_the_job_before_it_begins(tmp_path):
    root = write_coco(tmp_path / "coco")
    path = COCO.instances(root, "train2017")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ScenesError, match="is not a whole JSON object"):
        segment(root, tmp_path / "out")


def test_a_file_that_changes_during_the_job_is_noticed(tmp_path):
    from samclr.datasets.annotation_index import indexed
    from samclr.regions.segmenters.create import build_segmenter
    from samclr.scenes.decode import DecodeError, load_scene

    root = write_coco(tmp_path / "coco")
    (ref, *_) = indexed(list_scenes([Path(f"coco@{root}")]))
    edited(root, lambda held: held["annotations"].pop())
    segmenter = build_segmenter(SegmenterConfig(segmenter="labels"))
    with pytest.raises(DecodeError, match=r"instances_train2017.json was changed since this job began"):
        segmenter.complete(ref, load_scene(ref))


def test_a_panoptic_png_of_another_size_is_its_rows_error(tmp_path):
    root = write_coco(tmp_path / "coco")
    save(root / "annotations/panoptic_train2017/000000000900.png", coloured(np.ones((9, 9), int)))
    found = segment(root, tmp_path / "out", annotations="panoptic")
    assert "is 9x9 px, its image 64x48 px" in found[FIRST]


def test_crowds_have_runs_and_others_polygons():
    crowd = next(one for one in annotations_of(1) if one["iscrowd"])
    assert (crowd["id"], sum(crowd["segmentation"]["counts"])) == (CROWD_ID + 1, 48 * 64)

"""A store of ground truth notices labels that were replaced, image by image, wherever they lie."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.coco import annotations_of, write_coco
from support.open_images import write_open_images
from support.scenes import box_scene, write_scenes

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.catalogue import DATASETS
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError
from samclr.regions.region_store import RegionStore
from samclr.regions.segment import segment_scenes
from samclr.scenes.fill import FillOptions
from samclr.storage.checksums import read_parquet, write_parquet

FIRST, SECOND, THIRD = (f"train2017/{number:012d}.jpg" for number in (900, 901, 902))


def segment(scenes, out, labels=None, replace=False):
    """How many rows were made, and which images failed."""
    config = SegmenterConfig(segmenter="labels", labels=labels)
    _, report = segment_scenes(list_scenes([Path(scenes)]), config, out, FillOptions(replace_changed=replace))
    return report.num_new, sorted(report.errors)


def swap_boxes(path):
    """A label map with two boxes fewer, in the same number of bytes or another."""
    labels = np.asarray(Image.open(path))
    Image.fromarray(np.where(labels == 2, labels, 0).astype(np.uint8)).save(path)


def test_another_folder_of_labels_is_named_and_one_that_moved_or_grew_is_not(tmp_path):
    scenes, labels, out = tmp_path / "scenes", tmp_path / "labels", tmp_path / "out"
    write_scenes(scenes, 4, labels)
    assert segment(scenes, out, labels) == (4, [])
    write_scenes(scenes, 6, labels)  # writes the first four again, as they were
    labels = labels.rename(tmp_path / "elsewhere")
    assert segment(scenes, out, labels) == (2, [])
    swap_boxes(labels / "a/000.png")
    os.unlink(labels / "b/001.png")
    write_scenes(scenes, 7, tmp_path / "labels")
    (tmp_path / "labels/a/006.png").rename(labels / "a/006.png")
    said = (
        r"2 images or their labels were replaced since .*: a/000.png \(its label\), b/001.png \(its label\); "
        r"call samclr.segment with replace_changed=True to redo their rows, or restore the files"
    )
    with pytest.raises(ScenesError, match=said):
        segment(scenes, out, labels)
    assert segment(scenes, out, labels, replace=True) == (2, ["b/001.png"])
    assert len(RegionStore(out)["a/000.png"].regions) == 2
    assert segment(scenes, out, labels) == (0, ["b/001.png"])


def test_a_label_map_that_was_broken_and_is_mended_makes_its_row(tmp_path):
    write_scenes(tmp_path / "scenes", 2, tmp_path / "labels")
    (tmp_path / "labels/a/000.png").write_bytes(b"x")
    words = (tmp_path / "scenes", tmp_path / "out", tmp_path / "labels")
    assert segment(*words) == (2, ["a/000.png"])
    Image.fromarray(box_scene(0)[1]).save(tmp_path / "labels/a/000.png")
    assert segment(*words) == (1, [])


def test_a_label_map_that_comes_later_makes_its_row(tmp_path):
    write_scenes(tmp_path / "scenes", 3, tmp_path / "labels")
    late = [tmp_path / "labels/a" / name for name in ("000.png", "002.png")]
    for path in late:
        path.rename(path.with_suffix(".late"))
    words = (tmp_path / "scenes", tmp_path / "out", tmp_path / "labels")
    assert segment(*words) == (3, ["a/000.png", "a/002.png"])
    assert segment(*words) == (0, ["a/000.png", "a/002.png"])
    late[0].with_suffix(".late").rename(late[0])
    assert segment(*words) == (1, ["a/002.png"])
    assert segment(*words) == (0, ["a/002.png"])
    assert len(RegionStore(tmp_path / "out")["a/000.png"].regions) == 4  # the ground too


def test_annotations_in_a_json_are_compared_image_by_image(tmp_path):
    root, out = write_coco(tmp_path / "coco"), tmp_path / "out"
    path = DATASETS["coco"].instances(root, "train2017")
    assert segment(f"coco@{root}", out) == (3, [])
    held = json.loads(path.read_text())
    held["info"]["year"] = 2026  # moves every annotation
    path.write_text(json.dumps(held))
    assert segment(f"coco@{root}", out) == (0, [])
    held["annotations"] = [*held["annotations"][1:], *annotations_of(902)]
    path.write_text(json.dumps(held))
    with pytest.raises(
        ScenesError, match=rf"2 images or their labels .*: {FIRST} \(its label\), {THIRD} \(its label\)"
    ):
        segment(f"coco@{root}", out)
    assert segment(f"coco@{root}", out, replace=True) == (2, [])
    assert [len(RegionStore(out)[image_id].regions) for image_id in (FIRST, SECOND, THIRD)] == [1, 2, 2]


def test_mask_files_of_a_table_are_compared(tmp_path):
    root, out = write_open_images(tmp_path / "set"), tmp_path / "out"
    made, (unnamed,) = segment(f"open-images@{root}", out)
    assert made == 3
    mask = min((root / "train-masks").iterdir())
    Image.fromarray(np.ones((24, 32), bool)).save(mask)
    with pytest.raises(ScenesError, match=rf"train/{mask.name[:16]}.jpg \(its label\)"):
        segment(f"open-images@{root}", out)
    assert segment(f"open-images@{root}", out, replace=True) == (1, [unnamed])


def test_rows_of_older_stores_say_nothing_of_labels(tmp_path):
    write_scenes(tmp_path / "scenes", 2, tmp_path / "labels")
    words = (tmp_path / "scenes", tmp_path / "out", tmp_path / "labels")
    segment(*words)
    for part in (tmp_path / "out").glob("b*.parquet"):
        write_parquet(read_parquet(part).drop_columns(["label_file"]), part)
    swap_boxes(tmp_path / "labels/a/000.png")
    write_scenes(tmp_path / "more", 3, tmp_path / "maps")
    for kind, place in (("more", "scenes"), ("maps", "labels")):
        (tmp_path / kind / "a/002.png").rename(tmp_path / place / "a/002.png")
    assert segment(*words) == (1, [])
    assert sorted(RegionStore(tmp_path / "out")) == ["a/000.png", "a/002.png", "b/001.png"]

"""Open Images by name: scenes, and masks of another size as regions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.open_images import COUNTS, half, write_open_images
from support.scenes import box_scene

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.catalogue import DATASETS
from samclr.datasets.check import check_set
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError
from samclr.regions.region_store import RegionStore
from samclr.regions.segment import segment_scenes
from samclr.scenes.fill import FillOptions

SPEC = DATASETS["open-images"]
TINY = dataclasses.replace(
    SPEC, splits=tuple(dataclasses.replace(one, num_images=COUNTS[one.name]) for one in SPEC.splits)
)


def segment(root, out):
    refs = list_scenes([Path(f"open-images@{root}")])
    store, report = segment_scenes(refs, SegmenterConfig(segmenter="labels"), out, FillOptions())
    return dict(RegionStore(store.path)), report


@pytest.mark.parametrize(
    ("masks", "tables"),
    [
        ("{split}-masks", ""),
        ("{split}-masks/{split}-masks-{first}", "annotations"),
        ("masks/{split}", "annotations"),
        ("{split}-masks-{first}", ""),
        ("{split}/masks", "{split}"),
    ],
)
def test_masks_are_found_and_scaled(tmp_path, masks, tables):
    found, report = segment(write_open_images(tmp_path / "{set}", masks, tables), tmp_path / "out")
    of_none = next(iter(report.errors.values()))
    assert of_none == "train-annotations-object-segmentation.csv does not name this image"
    assert (len(found), len(report.errors)) == (2, 1)
    for number, regions in enumerate(found.values()):
        boxes = box_scene(number)[1]
        expected = [np.kron(half(boxes == box), np.ones((2, 2), bool)) for box in (1, 2, 3)]
        assert (regions.masks() == np.stack(expected)).all()


def test_a_whole_copy_is_complete_and_missing_masks_are_said(tmp_path):
    root = write_open_images(tmp_path)
    assert check_set(TINY, root).complete
    assert [one.labels for one in check_set(TINY, root).splits] == [2, 1, 0]
    (root / "train-masks").rename(root / "elsewhere")
    with pytest.raises(ScenesError, match="which is in none of train-masks/, train-masks/train-masks-"):
        segment(root, tmp_path / "out")
    assert "which is in none of" in check_set(TINY, root).splits[0].faults[0]


@pytest.mark.parametrize("place", [0, 6])
def test_part_of_the_archives_will_do_whichever_row_comes_first(tmp_path, place):
    root = write_open_images(tmp_path / "set", "{split}-masks/{split}-masks-{first}")
    table = root / "train-annotations-object-segmentation.csv"
    head, *rows = table.read_text().splitlines()
    unnamed = max((root / "train").glob("*.jpg")).stem
    rows.insert(place, f"6_m01.png,{unnamed}," + rows[0].split(",", 2)[2])
    table.write_text("\n".join([head, *rows]) + "\n")
    found, report = segment(root, tmp_path / "out")
    assert len(found) == 2
    assert report.errors == {f"train/{unnamed}.jpg": "cannot decode label map 6_m01.png: no such file"}


def test_masks_of_another_shape_and_missing_files_are_that_images_error(tmp_path):
    root = write_open_images(tmp_path)
    first, second = sorted({path.name[:16] for path in (root / "train-masks").iterdir()})
    Image.new("1", (30, 30)).save(next((root / "train-masks").glob(f"{first}_m02*")))
    next((root / "train-masks").glob(f"{second}_m03*")).unlink()
    found, report = segment(root, tmp_path / "out")
    assert not found
    assert f"the mask {first}_m02_00000002.png is 30x30 px, the photo 64x48" in report.errors[f"train/{first}.jpg"]
    assert "cannot decode label map" in report.errors[f"train/{second}.jpg"]


def test_a_table_of_other_columns_is_refused(tmp_path):
    root = write_open_images(tmp_path)
    (root / "train-annotations-object-segmentation.csv").write_text("ImageID,LabelName\na,b\n")
    with pytest.raises(ScenesError, match="has no column MaskPath; expected MaskPath, ImageID"):
        segment(root, tmp_path / "out")

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
    with pytest.raises(ScenesError, match="of which none is in any of train-masks/, train-masks/train-masks-"):
        segment(root, tmp_path / "out")
    assert "of which none is in any of" in check_set(TINY, root).splits[0].faults[0]


@pytest.mark.parametrize("masks", ["{split}-masks", "{split}-masks/{split}-masks-{first}"])
def test_masks_that_are_missing_are_counted_by_their_archive(tmp_path, masks):
    root = write_open_images(tmp_path, masks)
    gone = sorted((root / "train-masks").rglob("*_m02_*.png"))
    for path in gone:
        path.unlink()
    (fault,) = check_set(TINY, root).splits[0].faults
    assert fault.startswith(f"2 masks that train-annotations-object-segmentation.csv names are missing: {gone[0].name}")
    assert fault.endswith("by the first character of their names: 0 2")


def test_images_as_the_archives_unpack_are_sent_into_one_folder(tmp_path):
    root = write_open_images(tmp_path)
    (root / "train").rename(root / "train_0")
    said = r"found .*; it lies in parts, train_0: move their images into .*train, or make links to these folders th"
    with pytest.raises(ScenesError, match=said):
        list_scenes([Path(f"open-images@{root}")])
    for split in ("validation", "test"):
        (root / split).rename(root / f"x{split}")
    with pytest.raises(ScenesError, match=rf"is not a root of Open Images.*{said}"):
        list_scenes([Path(f"open-images@{root}")])
    (root / "train").mkdir()
    (root / "train/train_0").symlink_to(root / "train_0", target_is_directory=True)
    assert len(segment(root, tmp_path / "out")[0]) == 2


def test_some_of_the_sixteen_archives_are_enough(tmp_path):
    """Whichever row comes first: masks of the others are their images' errors."""
    root = write_open_images(tmp_path, "{split}-masks-{first}")
    first = next(iter(sorted((root / "train").glob("*.jpg")))).stem
    table = root / "train-annotations-object-segmentation.csv"
    head, *rows = table.read_text().splitlines()
    others = [row.replace(first, f"6{first[1:]}") if row.startswith(first) else row for row in rows]
    assert others[0].startswith("6")
    table.write_text("\n".join([head, *others]) + "\n")
    (root / f"train/{first}.jpg").rename(root / f"train/6{first[1:]}.jpg")
    found, report = segment(root, tmp_path / "out")
    assert len(found) == 1
    assert "cannot decode label map" in report.errors[f"train/6{first[1:]}.jpg"]
    table.write_text(head + "\n")
    with pytest.raises(ScenesError, match="names none of the images: it has none"):
        segment(root, tmp_path / "none")


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

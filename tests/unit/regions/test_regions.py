import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from support.damage import flip_a_bit
from support.scenes import box_scene, write_scenes

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.config.pretrain import FilterConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import PartsError, RegionError, ScenesError, UsageError
from samclr.regions import segment
from samclr.regions.coarsest import coarsest, padded_box
from samclr.regions.index import occupancy_grid, open_index
from samclr.regions.records import ImageRegions, Region, check_rle, region_from_mask
from samclr.regions.score import score_store
from samclr.regions.segment import SegmentWork, segment_scenes
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.store import open_store, row_to_regions, store_stats, verify_store
from samclr.scenes.fill import FillOptions
from samclr.storage import files
from samclr.storage.parts import bucket_of_part

LABELS = SegmenterConfig(segmenter="labels", ignore_label=(0,))


def image_of(*masks: np.ndarray) -> ImageRegions:
    height, width = masks[0].shape
    regions = tuple(region_from_mask(mask) for mask in masks)
    return ImageRegions(image_id="i", content_hash="h", height=height, width=width, regions=regions)


def box_mask(x0, y0, x1, y1, height=60, width=80):
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def labelled_store(tmp_path, count=6):
    scenes = write_scenes(tmp_path / "scenes", count, tmp_path / "labels")
    config = replace(LABELS, labels=tmp_path / "labels")
    refs = list_scenes([scenes])
    store, report = segment_scenes(refs, config, tmp_path / "store", FillOptions())
    return refs, store, report, config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box_xyxy": (5, 5, 5, 9)}, "is empty or negative"),
        ({"area_px": 999}, "area_px 999 does not fit"),
        ({"area_px": 0}, "does not fit"),
        ({"predicted_iou": float("nan")}, "predicted_iou is nan"),
    ],
)
def test_a_region_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(RegionError, match=message):
        Region(**({"box_xyxy": (0, 0, 4, 4), "area_px": 16, "rle": b""} | change))


def test_a_box_outside_its_image_is_refused():
    region = region_from_mask(box_mask(0, 0, 80, 60))
    with pytest.raises(RegionError, match="reaches outside the image of 70x60"):
        ImageRegions(image_id="i", content_hash="h", height=60, width=70, regions=(region,))


HUGE = coco_mask.frPyObjects({"counts": [2**31] * 2, "size": [2**16, 2**16]}, 2**16, 2**16)["counts"]


@pytest.mark.parametrize("rle", [b"", b"0", b"\x00\x01", b"PP", b"99999999", b"n6", b"P" * 30 + b"0", HUGE * 2])
def test_malformed_run_lengths_are_refused_by_name(rle):
    with pytest.raises(RegionError, match=r"img, region 0: malformed RLE"):
        check_rle(rle, 60, 80, "img, region 0")


def test_labels_become_connected_pieces_without_the_ignored(tmp_path):
    _, store, report, _ = labelled_store(tmp_path)
    assert report.errors == {}
    for row in store.read().to_pylist():
        found = row_to_regions(row)
        _, labels = box_scene(int(found.image_id[2:5]))
        assert len(found.regions) == 3
        masks = [found.mask(number) for number in range(3)]
        assert all(any((mask == (labels == number)).all() for mask in masks) for number in (1, 2, 3))


def test_labels_that_do_not_fit_cost_one_row_each(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 4, tmp_path / "labels")
    (tmp_path / "labels/a/000.png").unlink()
    Image.new("L", (5, 5)).save(tmp_path / "labels/a/002.png")
    Image.new("RGB", (64, 48)).save(tmp_path / "labels/b/001.png")
    config = replace(LABELS, labels=tmp_path / "labels")
    _, report = segment_scenes(list_scenes([scenes]), config, tmp_path / "store", FillOptions())
    assert "no label map" in report.errors["a/000.png"]
    assert "5x5 px, its image 64x48 px" in report.errors["a/002.png"]
    assert "3 channels" in report.errors["b/001.png"]
    assert set(report.errors) == {"a/000.png", "a/002.png", "b/001.png"}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_ignored_value_that_no_map_holds_is_said_with_those_they_hold(tmp_path, caplog, workers):
    scenes = write_scenes(tmp_path / "scenes", 12, tmp_path / "labels")
    refs, options = list_scenes([scenes]), FillOptions(num_workers=workers)
    config = replace(LABELS, labels=tmp_path / "labels", ignore_label=(0, 255, 300))
    store, _ = segment_scenes(refs, config, tmp_path / "store", options)
    remark = "no label map that was read holds 255, 300 (`ignore_label`); they hold 0, 1, 2, 3"
    assert [record.message for record in caplog.records].count(remark) == 1
    caplog.clear()
    segment_scenes(refs, config, tmp_path / "store", options)  # reads no map again
    held = replace(config, ignore_label=(0, 3))
    segment_scenes(refs, held, tmp_path / "other", options)
    assert "no label map that was read" not in caplog.text
    score_store(store, tmp_path / "labels", ignore_label=(9,))
    assert "holds 9 (`ignore_label`); they hold 0, 1, 2, 3" in caplog.text


def test_a_picture_is_no_label_map(tmp_path):
    """Its pieces would take minutes, and be no objects."""
    scenes = write_scenes(tmp_path / "scenes", 2, tmp_path / "labels")
    values = np.arange(120 * 120, dtype=np.uint16).reshape(120, 120)
    for folder, pixels in (("scenes", np.zeros((120, 120, 3), np.uint8)), ("labels", values)):
        Image.fromarray(pixels).save(tmp_path / folder / "a/000.png")
    config = replace(LABELS, labels=tmp_path / "labels")
    _, report = segment_scenes(list_scenes([scenes]), config, tmp_path / "store", FillOptions())
    text = "the label map has 14,399 pieces; expected at most 10,000: is it a picture?"
    assert report.errors == {"a/000.png": text}


def test_a_segmenter_that_fails_on_one_scene_costs_one_row(scenes, tmp_path, monkeypatch):
    class Picky(Segmenter):
        def __init__(self):
            pass

        def segment(self, found):
            if any(scene.image_id == "a/004.png" for scene in found):
                raise ZeroDivisionError("odd scene")
            return [
                ImageRegions(
                    image_id=s.image_id,
                    content_hash=s.content_hash,
                    height=s.pixels.shape[0],
                    width=s.pixels.shape[1],
                    regions=(),
                )
                for s in found
            ]

    monkeypatch.setattr(segment, "_loaded", lru_cache(lambda config: segment._Loaded(segmenter=Picky())))
    work = SegmentWork(config=SegmenterConfig())
    table = work(list_scenes([scenes]), tmp_path / "unused")
    failed = [row for row in table.to_pylist() if row["status"] != "ok"]
    assert [row["image_id"] for row in failed] == ["a/004.png"]
    assert failed[0]["status"] == "segmenter failed: ZeroDivisionError: odd scene"


def test_the_segmenter_settings_are_checked_first(scenes, tmp_path):
    refs = list_scenes([scenes])
    with pytest.raises(UsageError, match="add `labels` DIR"):
        segment_scenes(refs, LABELS, tmp_path / "store", FillOptions())
    with pytest.raises(ScenesError, match="no such folder of label maps"):
        segment_scenes(refs, replace(LABELS, labels=tmp_path / "no"), tmp_path / "store", FillOptions())
    segment_scenes(refs, SegmenterConfig(), tmp_path / "store", FillOptions())
    with pytest.raises(PartsError, match="name another folder for the new settings"):
        segment_scenes(refs, SegmenterConfig(scale=1.0), tmp_path / "store", FillOptions())


def test_verify_finds_what_does_not_fit(tmp_path):
    _, store, _, _ = labelled_store(tmp_path)
    assert verify_store(store) == []

    def falsify(_):
        table = store.read()
        rows = table.to_pylist()
        rows[0]["regions"][0]["area_px"] -= 1
        rows[1]["regions"][0]["rle"] = b"99999999"
        rows[2]["regions"][0]["box_xyxy"][2] += 1
        return type(table).from_pylist(rows, schema=table.schema)

    bucket = bucket_of_part(store.part_paths()[0].stem)
    store.publish(bucket, falsify)
    faults = verify_store(open_store(store.path))
    assert len(faults) == 3
    assert "its mask has" in faults[0]
    assert "malformed RLE" in faults[1]
    assert "box_xyxy" in faults[2]


def test_verify_names_every_damaged_part(tmp_path):
    _, store, _, _ = labelled_store(tmp_path)
    (part,) = store.part_paths()
    whole = part.read_bytes()
    for name in ("b00000-p00007.parquet", "b00000-p00008.parquet"):
        part.with_name(name).write_bytes(whole[:-40])
    faults = verify_store(open_store(store.path))
    assert [fault.split(":")[0] for fault in faults] == [
        "b00000-p00007.parquet is damaged",
        "b00000-p00008.parquet is damaged",
    ]


def test_stats_count_regions_and_areas(tmp_path):
    _, store, _, _ = labelled_store(tmp_path)
    stats = store_stats(store)
    assert (stats["num_images"], stats["num_regions"], stats["num_images_without_regions"]) == (6, 18, 0)
    assert stats["area_frac"]["mean"] == pytest.approx(14 * 14 / (48 * 64))
    json.dumps(stats)


def test_the_coarsest_regions_are_kept_and_small_ones_dropped():
    whole, part, beside, small = (
        box_mask(10, 10, 50, 50),
        box_mask(12, 12, 30, 30),
        box_mask(48, 10, 70, 50),  # overlaps the first by less than a tenth
        box_mask(72, 50, 75, 53),
    )
    found = image_of(small, part, whole, beside)
    assert coarsest(found, FilterConfig(min_area_px=20)) == [2, 3]
    assert coarsest(found, FilterConfig(min_area_px=0)) == [2, 3, 0]
    assert coarsest(found, FilterConfig(min_area_px=0, containment_frac=1.0)) == [2, 3, 1, 0]
    assert coarsest(found, FilterConfig(min_area_px=0, max_area_frac=0.3)) == [3, 1, 0]
    assert coarsest(found, FilterConfig(min_area_px=0, min_area_frac=0.1)) == [2, 3]
    assert coarsest(found, FilterConfig(min_area_px=0, min_box_px=20, padding=1.0)) == [2, 3]


def test_equal_masks_keep_the_first():
    mask = box_mask(0, 0, 40, 40)
    assert coarsest(image_of(mask, mask), FilterConfig()) == [0]


@pytest.mark.parametrize(
    ("box", "padding", "expected"),
    [
        ((20, 20, 40, 40), 1.3, (17, 17, 43, 43)),
        ((0, 0, 10, 10), 1.5, (0, 0, 13, 13)),  # each side is clipped by itself, not moved
        ((70, 50, 80, 60), 2.0, (65, 45, 80, 60)),
        ((20, 20, 40, 40), 1.0, (20, 20, 40, 40)),
        ((20, 20, 40, 40), 0.5, (25, 25, 35, 35)),
    ],
)
def test_boxes_are_padded_about_their_centre_and_clipped(box, padding, expected):
    assert padded_box(box, padding, 60, 80) == expected


def index_of(tmp_path, filter_config):
    refs, store, _, _ = labelled_store(tmp_path)
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    bank = SceneBank(tmp_path / "bank", refs)
    return bank, store, open_index(bank, store, filter_config, tmp_path / "cache")


def test_the_index_follows_the_bank(tmp_path):
    bank, store, index = index_of(tmp_path, FilterConfig(min_area_px=10))
    assert index.start.tolist() == [0, 3, 6, 9, 12, 15, 18]
    rows = {row["image_id"]: row for row in store.read().to_pylist()}
    for image, image_id in enumerate(bank.image_ids):
        found = row_to_regions(rows[image_id])
        for place, kept in enumerate(coarsest(found, FilterConfig(min_area_px=10))):
            box = index.box_xyxy[index.start[image] + place]
            assert tuple(box) == padded_box(found.regions[kept].box_xyxy, 1.3, 48, 64)


def test_the_index_is_made_once_and_anew_for_another_filter(tmp_path):
    bank, store, _ = index_of(tmp_path, FilterConfig(min_area_px=10))
    made = set((tmp_path / "cache/index").iterdir())
    open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "cache")
    assert set((tmp_path / "cache/index").iterdir()) == made
    assert len(open_index(bank, store, FilterConfig(), tmp_path / "cache").area_px) == 0
    assert len(list((tmp_path / "cache/index").iterdir())) == 2


@pytest.mark.parametrize("size", [(60, 80), (9, 11), (200, 33), (1, 1), (32, 64)])
def test_grids_are_the_masks_exact_shares(size):
    """Oracle: every pixel cut into 32x32, so that cells hold whole pieces."""
    random = np.random.default_rng(size[0])
    for share in (0.1, 0.5, 0.95, 1.0):
        mask = random.random(size) <= share
        mask[random.integers(0, size[0]), random.integers(0, size[1])] = True
        found = image_of(mask)
        x0, y0, x1, y1 = found.regions[0].box_xyxy
        pieces = np.kron(mask[y0:y1, x0:x1], np.ones((32, 32)))
        cells = pieces.reshape(32, y1 - y0, 32, x1 - x0).mean((1, 3))
        assert np.abs(occupancy_grid(found, 0) - cells * 255).max() <= 0.5 + 1e-6


def test_several_processes_make_the_same_index(tmp_path, monkeypatch):
    """Of several buckets, for a bank in another order than the store's."""
    refs, store, _, _ = labelled_store(tmp_path, count=40)
    assert store.num_buckets == 3
    refs = refs[::-1][:35]
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    bank = SceneBank(tmp_path / "bank", refs)
    index = open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "cache")
    rows = {row["image_id"]: row for row in store.read().to_pylist()}
    for image, image_id in enumerate(bank.image_ids):
        found = row_to_regions(rows[image_id])
        kept = [found.regions[number].box_xyxy for number in coarsest(found, FilterConfig(min_area_px=10))]
        assert index.mask_box_xyxy[index.start[image] : index.start[image + 1]].tolist() == [list(box) for box in kept]
    monkeypatch.setattr("samclr.regions.index.MIN_IMAGES_A_WORKER", 1)
    again = open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "other", num_workers=2)
    for name in ("start", "box_xyxy", "mask_box_xyxy", "area_px", "grid"):
        assert (getattr(again, name) == getattr(index, name)).all()
    assert [path.name for path in (tmp_path / "other/index").iterdir()] == [
        path.name for path in (tmp_path / "cache/index").iterdir()
    ]


def test_any_flip_in_an_index_is_healed_and_said(tmp_path, capsys):
    bank, store, index = index_of(tmp_path, FilterConfig(min_area_px=10))
    arrays = ("start", "box_xyxy", "mask_box_xyxy", "area_px", "grid")
    expected = {name: getattr(index, name).copy() for name in arrays}
    (made,) = (tmp_path / "cache/index").iterdir()
    random = np.random.default_rng(0)
    for trial in range(50):
        path = sorted(made.iterdir())[trial % 7]
        flip_a_bit(path, random)
        again = open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "cache")
        assert all((getattr(again, name) == expected[name]).all() for name in arrays), path
        assert again.segment_errors == 0
        assert "is damaged and is being rebuilt" in capsys.readouterr().err
    for name in ("grid.npy", "start.npy"):
        (made / name).unlink()
        open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "cache")
        assert "is damaged and is being rebuilt" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "cache/index").iterdir()] == [made.name]


def test_grids_of_a_large_index_are_checked_as_they_are_used(tmp_path, monkeypatch, capsys):
    bank, store, index = index_of(tmp_path, FilterConfig(min_area_px=10))
    expected = index.grid[3].copy()
    (made,) = (tmp_path / "cache/index").iterdir()
    content = bytearray((made / "grid.npy").read_bytes())
    content[128 + 1024 * 3 + 5] ^= 1
    (made / "grid.npy").write_bytes(content)
    monkeypatch.setattr("samclr.regions.index.GRID_BYTES_AT_OPENING", 10)
    index = open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "cache")
    index.grids(np.array([0, 1, 2, 2]))
    with pytest.raises(PartsError, match=r"index/.* is damaged: the checksum of a grid .* rerun the same command"):
        index.grids(np.array([1, 3]))
    index = open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "cache")
    assert "is being rebuilt" in capsys.readouterr().err
    assert (index.grids(np.array([3]))[0] == expected).all()


def test_what_a_killed_process_left_of_an_index_is_no_hindrance(tmp_path):
    bank, store, index = index_of(tmp_path, FilterConfig(min_area_px=10))
    (made,) = (tmp_path / "cache/index").iterdir()
    half = made.rename(made.with_name(f"{made.name}.{files._machine()}-4194305-0.tmp"))
    (half / "b00000").mkdir()
    again = open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "cache")
    assert (again.grid == index.grid).all()
    assert [path.name for path in (tmp_path / "cache/index").iterdir()] == [made.name]


def test_coverage_is_the_masks_share_of_the_view(tmp_path):
    _, _, index = index_of(tmp_path, FilterConfig(min_area_px=10))
    x0, y0, x1, y1 = (int(v) for v in index.mask_box_xyxy[0])
    inside, left_half, wide = (x0, y0, x1, y1), (x0 - 7, y0, x0 + 7, y1), (x0, y0, x1 + 14, y1)
    coverage = index.coverage(np.zeros(3, np.int64), np.array([inside, left_half, wide]))
    assert coverage == pytest.approx([1.0, 0.5, 0.5], abs=0.01)


def test_scenes_without_a_row_are_named(tmp_path, scenes):
    _, store, _, _ = labelled_store(tmp_path / "x")
    other = list_scenes([scenes])
    pack_scenes(other, tmp_path / "bank", None, FillOptions())
    bank = SceneBank(tmp_path / "bank", other)
    with pytest.raises(PartsError, match=r"6 scenes have no row in the region store .*run samclr segment"):
        open_index(bank, store, FilterConfig(), tmp_path / "cache")


def test_an_image_replaced_between_segmenting_and_packing_is_named(tmp_path):
    refs, store, _, _ = labelled_store(tmp_path)
    Image.new("RGB", (64, 48)).save(tmp_path / "scenes/a/000.png")
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    with pytest.raises(ScenesError, match=r"1 images differ .*a/000.png"):
        open_index(SceneBank(tmp_path / "bank", refs), store, FilterConfig(), tmp_path / "cache")


@pytest.mark.parametrize(("height", "width"), [(0, 70), (-1, 70), (10**9, 10**9)])
def test_an_image_of_no_possible_size_is_refused(height, width):
    with pytest.raises(RegionError, match="its size is"):
        ImageRegions(image_id="i", content_hash="", height=height, width=width, regions=())


def test_run_lengths_are_checked_before_any_mask_is_decoded():
    region = region_from_mask(box_mask(0, 0, 30, 30))
    for position in range(len(region.rle)):
        damaged = bytearray(region.rle)
        damaged[position] ^= 8
        broken = replace(region, rle=bytes(damaged))
        with pytest.raises(RegionError, match="region 0: malformed RLE"):
            ImageRegions(image_id="i", content_hash="", height=60, width=70, regions=(broken,))


@pytest.mark.parametrize("at_opening", [10, 10**9])
def test_the_regions_of_one_image_are_an_index_of_their_own(tmp_path, monkeypatch, at_opening):
    """Of a large index, whose grids are checked by the number of their region, too."""
    bank, store, _ = index_of(tmp_path, FilterConfig(min_area_px=10))
    monkeypatch.setattr("samclr.regions.index.GRID_BYTES_AT_OPENING", at_opening)
    index = open_index(bank, store, FilterConfig(min_area_px=10), tmp_path / "cache")
    last = int(np.flatnonzero(np.diff(index.start))[-1])
    rows = np.arange(index.start[last], index.start[last + 1])
    assert rows[0] > 0
    one = index.of_image(last)
    assert one.start.tolist() == [0, len(rows)]
    assert (one.grids(np.arange(len(rows))) == index.grids(rows)).all()
    assert (one.box_xyxy == index.box_xyxy[rows]).all()
    assert one.masks_fingerprint() != index.masks_fingerprint()

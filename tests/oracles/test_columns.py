"""The counts of the explorer against the filter, image by image."""

import numpy as np
import pytest
from support.nested import write_nested

from samclr.config.views import FilterConfig
from samclr.regions import columns as module
from samclr.regions.coarsest import coarsest, padded_box
from samclr.regions.columns import DAMAGED, NO_ROW, open_columns
from samclr.regions.store import iterate_rows, open_store, row_to_regions
from samclr.storage.parts import OK

FILTERS = [
    FilterConfig(min_area_px=0),
    FilterConfig(min_area_px=300, containment_frac=0.4, padding=1.5),
    FilterConfig(min_area_px=100, max_area_frac=0.4, min_area_frac=0.03, min_box_px=30, containment_frac=0.0),
    FilterConfig(min_area_px=0, containment_frac=1.0, padding=0.7, min_box_px=12),
]


@pytest.fixture
def nested(tmp_path, call):
    return write_nested(tmp_path, 30, call)


@pytest.mark.parametrize("config", FILTERS)
def test_the_columns_decide_as_the_filter_does(nested, config):
    store = open_store(nested[1])
    ids = store.image_ids()
    columns = open_columns(store, ids)
    kept = set(columns.sample_region[columns.sample_kept(config)].tolist())
    _, wanted = columns.within_limits(config)
    expected, within = set(), []
    for row in sorted(iterate_rows(store), key=lambda row: row["image_id"]):
        found, first = row_to_regions(row), columns.start[ids.index(row["image_id"])]
        expected |= {int(first) + number for number in coarsest(found, config)}
        area = found.height * found.width
        for region in found.regions:
            x0, y0, x1, y1 = padded_box(region.box_xyxy, config.padding, found.height, found.width)
            least = max(config.min_area_px, config.min_area_frac * area)
            fits = least <= region.area_px <= config.max_area_frac * area
            within.append(fits and min(x1 - x0, y1 - y0) >= config.min_box_px)
    assert kept == expected
    assert wanted.tolist() == within
    assert len(expected) < wanted.sum() or config.containment_frac == 1.0


def test_a_sample_is_a_part_of_the_images(nested, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_IMAGES", 10)
    store = open_store(nested[1])
    columns = open_columns(store, store.image_ids())
    assert len(columns.sampled) == 10
    own = [np.arange(columns.start[number], columns.start[number + 1]) for number in columns.sampled]
    assert sorted(columns.sample_region) == np.concatenate(own).tolist()
    monkeypatch.setattr(module, "SAMPLE_REGIONS", 20)
    fewer = module._Reader(store, store.image_ids()).columns()
    assert 20 - 9 <= len(fewer.sample_region) <= 20


def test_images_without_a_row_and_damaged_ones_are_named(nested, monkeypatch):
    store = open_store(nested[1])
    ids = store.image_ids()
    columns = open_columns(store, [*ids, "zz.png"])
    assert columns.errors == {len(ids): NO_ROW}
    monkeypatch.setattr(module, "_sound", lambda found, counts, *_: np.arange(len(counts)) % 2 == 0)
    (nested[1] / "manifest.json").touch()
    found = module._Reader(store, ids).columns()
    assert set(found.errors.values()) == {DAMAGED}
    assert found.start[-1] < columns.start[-1]
    assert not np.diff(found.start)[list(found.errors)].any()


def test_they_are_read_once_and_again_when_damaged(nested, monkeypatch, tmp_path):
    store = open_store(nested[1])
    rows = [row["status"] for row in iterate_rows(store)]
    assert set(rows) == {OK}
    first = open_columns(store, store.image_ids())
    reader = module._Reader
    monkeypatch.setattr(module, "_Reader", None)
    assert open_columns(store, store.image_ids()).area_px.tolist() == first.area_px.tolist()
    monkeypatch.setattr(module, "_Reader", reader)
    (kept,) = (tmp_path / "cache" / "columns").glob("*/area_px.npy")
    kept.write_bytes(kept.read_bytes()[:-30])
    assert open_columns(store, store.image_ids()).area_px.tolist() == first.area_px.tolist()

"""Regions without a point, in the store's files."""

import pyarrow as pa
import pytest
from support.scenes import write_scenes

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import PartsError
from samclr.regions.segment import segment_scenes
from samclr.regions.store import iterate_rows, open_store, read_bucket, row_to_regions
from samclr.scenes.fill import FillOptions
from samclr.storage import parts


@pytest.fixture
def store(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 3)
    segment_scenes(list_scenes([scenes]), SegmenterConfig(segmenter="felzenszwalb"), tmp_path / "store", FillOptions())
    return open_store(tmp_path / "store")


def test_no_null_is_written_where_pyarrow_before_26_cannot_read_one(store):
    """A null in a list of one length; the regions say None as before."""
    points = [pa.array(rows).flatten().field("point_xy") for rows in read_bucket(store, 0)["regions"].chunks]
    assert sum(len(column) for column in points) > 0
    assert sum(column.null_count for column in points) == 0
    found = [region.point_xy for row in iterate_rows(store) for region in row_to_regions(row).regions]
    assert set(found) == {None}


def test_a_null_of_an_older_store_is_no_damage(store, monkeypatch):
    """The advice to delete the file would cost hours of segmenting."""

    def read(*_: object) -> pa.Table:
        raise pa.ArrowInvalid("Expected all lists to be of size=2 but index 1 had size=0")

    monkeypatch.setattr(parts, "read_parquet", read)
    with pytest.raises(PartsError, match="need pyarrow 26 or newer") as refused:
        read_bucket(store, 0)
    assert "delete" not in str(refused.value)

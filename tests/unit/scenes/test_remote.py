"""Scenes in object storage, tried on file:// URIs."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.scenes import write_scenes

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.names import absolute
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError
from samclr.regions.segment import segment_scenes
from samclr.scenes.fill import FillOptions
from samclr.scenes.reading import read_bytes
from samclr.scenes.refs import file_stamp
from samclr.scenes.remote import as_uri


def test_a_uri_survives_being_a_path():
    assert as_uri(Path("s3://bucket/some/prefix")) == "s3://bucket/some/prefix"
    assert as_uri(Path("file:///data/x")) == "file:///data/x"
    assert as_uri(Path("photos/s3")) is None
    assert absolute(Path("gs://bucket/x")) == Path("gs://bucket/x")
    assert absolute(Path("x")).is_absolute()


def test_the_same_scenes_as_in_the_folder(tmp_path):
    folder = write_scenes(tmp_path / "scenes", 4)
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.png").write_bytes(next(folder.rglob("*.png")).read_bytes())
    (folder / "notes.txt").write_text("no image")
    for hidden in ("a/._000.png", ".thumbs/000.png", "a/.cache/000.png"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes((folder / "a/000.png").read_bytes())
    local, remote = list_scenes([folder]), list_scenes([Path(f"file://{folder}")])
    assert [ref.image_id for ref in remote] == [ref.image_id for ref in local]
    assert [read_bytes(ref) for ref in remote] == [read_bytes(ref) for ref in local]
    assert [file_stamp(ref) for ref in remote] == [file_stamp(ref) for ref in local]
    config = SegmenterConfig(min_size=20)
    _, first = segment_scenes(remote, config, tmp_path / "store", FillOptions())
    _, again = segment_scenes(remote, config, tmp_path / "store", FillOptions())
    assert (first.num_new, first.errors, again.num_new) == (5, {}, 0)
    (named,) = list_scenes([Path(f"file://{folder}/.thumbs/000.png")])  # asked for, as in the folder
    assert named.image_id == "000.png"


def test_parquet_in_object_storage(tmp_path):
    pictures = sorted(write_scenes(tmp_path / "scenes", 3).rglob("*.png"))
    folder = tmp_path / "set"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "last.png").write_bytes(pictures[2].read_bytes())
    rows = [{"bytes": picture.read_bytes(), "path": None} for picture in pictures[:2]]
    pq.write_table(pa.table({"image": [*rows, {"bytes": None, "path": "pictures/last.png"}]}), folder / "set.parquet")
    local, remote = list_scenes([folder / "set.parquet"]), list_scenes([Path(f"file://{folder}/set.parquet")])
    assert [ref.image_id for ref in remote] == [ref.image_id for ref in local]
    assert [read_bytes(ref) for ref in remote] == [picture.read_bytes() for picture in pictures]
    assert [file_stamp(ref) for ref in remote] == [file_stamp(ref) for ref in local]


def test_what_is_not_there_or_damaged(tmp_path):
    with pytest.raises(ScenesError, match="no image under"):
        list_scenes([Path(f"file://{tmp_path}/none")])
    (tmp_path / "x.parquet").write_bytes(b"")
    (broken,) = list_scenes([Path(f"file://{tmp_path}")])
    _, report = segment_scenes([broken], SegmenterConfig(min_size=20), tmp_path / "store", FillOptions())
    assert list(report.errors) == ["x.parquet"]

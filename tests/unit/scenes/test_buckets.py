"""A row is found, and none is made twice, however the path of a file of many images is typed."""

import tarfile
import zlib
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.scenes import box_scene, write_scenes

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.config.explorer import ExplorerData
from samclr.config.views import FilterConfig
from samclr.datasets.sources import list_scenes
from samclr.pages.explorer.source import Source
from samclr.pages.look import write_look
from samclr.regions.region_store import open_regions
from samclr.regions.store import iterate_rows, open_store
from samclr.scenes.buckets import buckets_of
from samclr.scenes.fill import FillOptions
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import bucket_of_part

NUM_IMAGES = 20  # in two buckets
SEGMENT = ("--segmenter", "felzenszwalb", "--min-size", 20, "--workers", 1)
EMBED = ("--backbone", "small-cnn", "--image-px", 32, "--device", "cpu", "--workers", 1)


def png(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(box_scene(seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(folder: Path, first_seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    rows = [{"bytes": png(first_seed + number), "path": None} for number in range(NUM_IMAGES)]
    pq.write_table(pa.table({"image": rows}), folder / "a.parquet")
    return folder


@pytest.fixture
def old_keys(monkeypatch):
    """Rows go where 0.1 and early 0.2 put them: by the path as it was typed."""
    with monkeypatch.context() as patch:
        by_path = property(lambda ref: ref.image_id if ref.row is None else f"{ref.path}#{ref.row // 256}")
        patch.setattr(SceneRef, "locality_key", by_path)
        patch.setattr("samclr.storage.parts.PartsFolder.places", lambda self, damaged=None: {})
        patch.setattr("samclr.scenes.fill.drop_outdated", lambda folder, work: None)
        yield patch


def names_in_buckets(root: Path) -> list[Path]:
    """Two names of folders in `root` whose rows went to bucket 0 and bucket 1."""
    return [
        next(
            root / name
            for name in map(str, range(99))
            if zlib.crc32(f"{root / name / 'a.parquet'}#0".encode()) % 2 == bucket
        )
        for bucket in (0, 1)
    ]


def test_another_way_to_type_the_path_makes_no_row_twice(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    low, high = names_in_buckets(tmp_path)
    write_parquet(low)
    high.symlink_to(low)
    for path in (low, high, low.name):
        status, _, said = call("segment", path, *SEGMENT, "--out", "store")
        assert status == 0, said
    assert "(0 new)" in said
    assert sum(len(rows) for _, rows in open_store(Path("store")).parts(["image_id"])) == NUM_IMAGES


def test_rows_stay_where_an_older_version_put_them(call, tmp_path, old_keys):
    low, high = names_in_buckets(tmp_path)
    write_parquet(low)
    high.symlink_to(low)
    out = ("--out", tmp_path / "store")
    assert call("segment", high, *SEGMENT, *out)[0] == 0
    assert call("pack", high, "--bank", tmp_path / "bank", "--workers", 1)[0] == 0
    assert {bucket_of_part(path.stem) for path in open_store(tmp_path / "store").part_paths()} == {1}
    old_keys.undo()
    for path in (low, high):
        refs = list_scenes([path])
        assert set(buckets_of(open_store(tmp_path / "store"), refs)) == {1}
        for command in (("segment", path, *SEGMENT, *out), ("pack", path, "--bank", tmp_path / "bank")):
            status, _, said = call(*command)
            assert (status, "(0 new)" in said) == (0, True), said
        write_look(open_store(tmp_path / "store"), refs, FilterConfig(), 2, 0, None)
        source = Source([path], ExplorerData(regions=tmp_path / "store"))
        assert [source.opened(number).error for number in range(NUM_IMAGES)] == [None] * NUM_IMAGES
        status, _, said = call(
            "embed", path, *EMBED, "--regions", tmp_path / "store", "--out", tmp_path / f"v{path.name}"
        )
        assert (status, "failed" in said) == (0, False), said


def test_a_damaged_part_that_an_older_version_put_elsewhere_is_made_anew(tmp_path, old_keys):
    low, high = names_in_buckets(tmp_path)
    write_parquet(low)
    high.symlink_to(low)
    pack_scenes(list_scenes([high]), tmp_path / "bank", None, FillOptions())
    for damage in ("bank/*.parquet", "bank/*.bin"):
        for path in (damaged := sorted(tmp_path.glob(damage))):
            path.write_bytes(path.read_bytes()[:100])
        old_keys.undo()
        _, report = pack_scenes(refs := list_scenes([low]), tmp_path / "bank", None, FillOptions())
        assert (report.num_new, list(report.healed)) == (
            NUM_IMAGES,
            [path.with_suffix(".parquet") for path in damaged],
        )
        assert SceneBank(tmp_path / "bank", refs).num_images == NUM_IMAGES


def test_new_images_under_old_names_are_noticed_and_redone(call, tmp_path, old_keys):
    low, high = names_in_buckets(tmp_path)
    write_parquet(low, first_seed=100), write_parquet(high)
    segment = ("--out", tmp_path / "store", *SEGMENT)
    for path in (high, low):  # the older version took those of `low` for further images
        assert "20 new" in call("segment", path, *segment)[2]
    old_keys.undo()
    status, _, said = call("segment", low, *segment)
    assert (status, "20 images were replaced since" in said) == (1, True), said
    assert "20 new" in call("segment", low, *segment, "--replace-changed")[2]
    assert call("segment", low, "--out", tmp_path / "fresh", *SEGMENT)[0] == 0
    found, fresh = open_regions(tmp_path / "store"), open_regions(tmp_path / "fresh")
    assert {name: one.content_hash for name, one in found.items()} == {n: one.content_hash for n, one in fresh.items()}
    rows = list(iterate_rows(open_store(tmp_path / "store")))
    assert len(rows) == NUM_IMAGES
    assert {row["content_hash"] for row in rows} == {one.content_hash for one in fresh.values()}


def test_vectors_that_an_older_version_left_twice_are_taken_out(call, tmp_path, old_keys):
    low, high = names_in_buckets(tmp_path)
    write_parquet(low)
    high.symlink_to(low)
    for path in (high, low):
        assert "20 new" in call("embed", path, *EMBED, "--out", tmp_path / "vectors")[2]
    rows = tmp_path / "vectors" / "rows"
    assert pq.read_table(rows).num_rows == 2 * NUM_IMAGES
    old_keys.undo()
    assert "(0 new)" in call("embed", low, *EMBED, "--out", tmp_path / "vectors")[2]
    ids = pq.read_table(rows)["id"].to_pylist()
    assert sorted(ids) == sorted(set(ids)) == [ref.image_id for ref in list_scenes([low])]


def test_members_that_left_a_tar_move_no_other(call, tmp_path):
    (tmp_path / "tars").mkdir()

    def write(numbers: range) -> None:
        with tarfile.open(tmp_path / "tars" / "a.tar", "w") as tar:
            for number in numbers:
                info = tarfile.TarInfo(f"{number:04d}.png")
                info.size = len(content := png(number % 8))
                tar.addfile(info, BytesIO(content))

    bank = ("pack", tmp_path / "tars", "--bank", tmp_path / "bank", "--workers", 1)
    write(range(300))
    assert "300 new" in call(*bank)[2]
    write(range(100, 300))
    assert "(0 new)" in call(*bank)[2]


def test_a_store_that_was_begun_with_few_images_grows_and_keeps_its_rows(call, scenes, tmp_path):
    store, list_of = tmp_path / "store", tmp_path / "few.txt"
    write_scenes(scenes, 100)
    list_of.write_text("a/000.png\nb/001.png\n")
    embed = ("--regions", store, *EMBED, "--out", tmp_path / "vectors")
    for path, new in ((f"{list_of}@{scenes}", 2), (scenes, 98), (scenes, 0)):
        for command in (("segment", path, *SEGMENT, "--out", store), ("embed", path, *embed)):
            status, _, said = call(*command)
            assert (status, f"({new} new)" in said) == (0, True), said
        if new == 2:
            first = open_store(store).path / "b00000-p00000.parquet"
            content = first.read_bytes()
    folder = open_store(store)
    assert (folder.num_buckets, folder.part_rows, folder.has_grown) == (7, 16, True)
    assert len(folder.paths_by_bucket()) == 7
    assert first.read_bytes() == content
    assert len(list(iterate_rows(folder))) == len(open_regions(store)) == 100
    write_look(folder, list_scenes([scenes]), FilterConfig(), 2, 0, None)
    source = Source([scenes], ExplorerData(regions=store))
    assert [source.opened(number).error for number in range(100)] == [None] * 100


def test_a_store_that_has_its_rows_stays_as_it_is(call, scenes, tmp_path):
    store = tmp_path / "store"
    write_scenes(scenes, 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("samclr.storage.parts.CROWDED", 100)
        patch.setattr("samclr.storage.parts._layout", lambda num: {"num_buckets": 1, "part_rows": 16})
        assert call("segment", scenes, *SEGMENT, "--out", store)[0] == 0
    manifest = (store / "manifest.json").read_bytes()
    assert "(0 new)" in call("segment", scenes, *SEGMENT, "--out", store)[2]
    assert (store / "manifest.json").read_bytes() == manifest

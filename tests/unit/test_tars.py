"""Tar shards of the WebDataset layout."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from true_layouts import png, write_tar

from samclr.errors import ScenesError
from samclr.fill import FillOptions
from samclr.regions.segment import segment_scenes
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.sources import file_stamp, list_scenes, read_bytes
from samclr.segmenter_config import SegmenterConfig


def ids(*sources):
    return [ref.image_id for ref in list_scenes([Path(source) for source in sources])]


def test_members_are_read_where_they_lie(tmp_path):
    members = {}
    for number in range(5):
        members |= {f"{number:04d}.cls": b"3", f"{number:04d}.png": png(number)}
    path = write_tar(tmp_path / "shard-000.tar", members)
    refs = list_scenes([path])
    assert [ref.image_id for ref in refs] == [f"shard-000.tar#{number:04d}.png" for number in range(5)]
    with tarfile.open(path) as tar:
        assert [read_bytes(ref) for ref in refs] == [tar.extractfile(ref.image_id.split("#")[1]).read() for ref in refs]
    assert len({ref.locality_key for ref in refs}) == 1
    assert {file_stamp(ref) for ref in refs} == {(path.stat().st_size, path.stat().st_mtime_ns)}


def test_one_image_of_a_sample(tmp_path):
    names = [
        "a.jpg",
        "a.png",
        "a.seg.png",
        "b.left.png",
        "b.right.png",
        "sub/c.jpeg",
        "sub/.d.png",
        "e.cls",
        "./f.webp",
    ]
    write_tar(tmp_path / "x.tar", dict.fromkeys(names, b"x"))
    chosen = ["./f.webp", "a.jpg", "b.left.png", "b.right.png", "sub/c.jpeg"]
    assert ids(tmp_path / "x.tar") == sorted(f"x.tar#{name.removeprefix('./')}" for name in chosen)


def test_directories_and_links_are_no_images(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("folder.png", tarfile.DIRTYPE), ("link.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
    with pytest.raises(ScenesError, match="no image under"):
        ids(tmp_path / "x.tar")


def test_a_folder_of_shards_and_a_folder_with_a_tar_beside_images(tmp_path):
    (tmp_path / "sub").mkdir()
    for number in range(2):
        write_tar(tmp_path / f"sub/shard-{number}.tar", {"k.png": png(number)})
    assert ids(tmp_path) == ["sub/shard-0.tar#k.png", "sub/shard-1.tar#k.png"]
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert ids(tmp_path) == ["plain.png"]  # as ever: a tar beside images is somebody's archive
    assert ids(tmp_path / "sub") == ["shard-0.tar#k.png", "shard-1.tar#k.png"]


def test_shards_in_object_storage(tmp_path):
    write_tar(tmp_path / "shard.tar", {"k.png": png(0), "l.png": png(1)})
    local, remote = list_scenes([tmp_path]), list_scenes([Path(f"file://{tmp_path}")])
    assert [ref.image_id for ref in remote] == [ref.image_id for ref in local]
    assert [read_bytes(ref) for ref in remote] == [read_bytes(ref) for ref in local]


def damage(path, kind):
    whole = path.read_bytes()
    if kind == "cut":
        path.write_bytes(whole[: whole.index(b"0002.png") + 512 + 100])
    elif kind == "between":
        path.write_bytes(whole[: whole.index(b"0002.png")])
    elif kind == "header":
        at = whole.index(b"0002.png")
        path.write_bytes(whole[:at] + b"\xff" * 300 + whole[at + 300 :])
    elif kind == "text":
        path.write_bytes(b"I am no tar at all" * 100)
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "left", "message"),
    [
        (
            "cut",
            (2, 3),
            r"is damaged, images after number \d are lost \(ValueError: it ends [\d,]+ bytes before its last member",
        ),
        ("between", (2, 2), r"images after number 2 are lost \(ValueError: it ends without an end mark"),
        ("header", (2, 2), r"images after number 2 are lost \(ValueError: no header where one should be, at byte"),
        ("text", (0, 0), r"images after number 0 are lost \(ValueError: no header where one should be"),
        ("empty", (0, 0), r"images after number 0 are lost \(ValueError: it is empty"),
    ],
)
def test_a_damaged_shard_keeps_what_can_be_read(tmp_path, kind, left, message):
    path = write_tar(tmp_path / "s.tar", {f"{number:04d}.png": png(number) for number in range(4)})
    damage(path, kind)
    refs = list_scenes([path])
    broken = next(ref for ref in refs if ref.image_id == "s.tar")
    assert left[0] <= len(refs) - 1 <= left[1]
    with pytest.raises(DecodeError, match=message):
        load_scene(broken)
    _, report = segment_scenes(refs, SegmenterConfig(min_size=20), tmp_path / "store", FillOptions())
    assert "s.tar" in report.errors
    good = [ref for ref in refs if ref.image_id not in report.errors]
    assert len(good) == left[0]
    assert all(read_bytes(ref) == png(int(ref.image_id[6:10])) for ref in good)


def test_a_broken_member_is_one_broken_image(tmp_path):
    refs = list_scenes([write_tar(tmp_path / "s.tar", {"a.png": png(0)[:100], "b.png": png(1), "c.png": b""})])
    _, report = segment_scenes(refs, SegmenterConfig(min_size=20), tmp_path / "store", FillOptions())
    assert set(report.errors) == {"s.tar#a.png", "s.tar#c.png"}


def test_a_shard_cut_after_it_was_listed(tmp_path):
    path = write_tar(tmp_path / "s.tar", {"a.png": png(0)})
    (ref,) = list_scenes([path])
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DecodeError, match=r"the file ends \d+ bytes before the image does"):
        load_scene(ref)


def test_compressed_tars_are_refused_by_name(tmp_path):
    (tmp_path / "s.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ScenesError, match=r"s.tar.gz is a compressed tar, .*; unpack it to a .tar"):
        list_scenes([tmp_path / "s.tar.gz"])


def test_parquet_beside_tars_goes_first(tmp_path):
    write_tar(tmp_path / "s.tar", {"a.png": png(0)})
    pq.write_table(pa.table({"image": [{"bytes": png(1), "path": None}]}), tmp_path / "s.parquet")
    assert ids(tmp_path) == ["s.parquet#0"]

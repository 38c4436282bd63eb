"""Tar shards of the WebDataset layout."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.true_layouts import png, write_tar

from samclr import log
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError
from samclr.regions.segment import segment_scenes
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.fill import FillOptions
from samclr.scenes.reading import read_bytes
from samclr.scenes.refs import file_stamp
from samclr.scenes.tar_members import TarReader


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
        ".thumbs/g.png",
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


def tar_bytes(members, tar_format=tarfile.GNU_FORMAT, kinds=None, pax=None):
    """A tar of (name, content) pairs, with its end mark."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), (kinds or {}).get(name, tarfile.REGTYPE)
            info.pax_headers = (pax or {}).get(name, {})
            info.linkname = "a.png" if info.type in (tarfile.LNKTYPE, tarfile.SYMTYPE) else ""
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def said(capsys, *sources):
    """Ids, and what listing says."""
    log._SAID.clear()
    found = ids(*sources)
    return found, capsys.readouterr().err


def test_archives_that_follow_one_another_are_all_read(tmp_path, capsys):
    parts = [tar_bytes([(f"{number}.png", png(number))]) for number in range(3)]
    (tmp_path / "x.tar").write_bytes(b"".join(parts))
    refs = list_scenes([tmp_path / "x.tar"])
    assert [read_bytes(ref) for ref in refs] == [png(number) for number in range(3)]
    (tmp_path / "x.tar").write_bytes(parts[0] + b"signature" * 200)
    found, text = said(capsys, tmp_path / "x.tar")
    assert found == ["x.tar#0.png"]
    assert "4 tar members were skipped: blocks after the end mark that are not a tar (4)" in text


def test_numbers_after_a_dot_belong_to_the_key(tmp_path, capsys):
    names = ["22.png", "22.05.png", "22.06.png", "v1.2.jpg", "v1.2.seg.png", "a.0.jpg", "a.1.jpg"]
    (tmp_path / "x.tar").write_bytes(tar_bytes([(name, png(0)) for name in names]))
    found, text = said(capsys, tmp_path / "x.tar")
    assert found == sorted(f"x.tar#{name}" for name in names if name != "v1.2.seg.png")
    assert "1 tar member was skipped: .seg.png beside the image of their sample (1)" in text


def test_what_a_shard_leaves_out_is_counted(tmp_path, capsys):
    members = [("a.png", png(0)), ("b.png", b""), ("c.png", b""), ("d.png", b""), ("e.psd", b"8BPS"), ("a.png", png(1))]
    kinds = {"b.png": tarfile.LNKTYPE, "c.png": tarfile.SYMTYPE, "d.png": tarfile.FIFOTYPE}
    (tmp_path / "x.tar").write_bytes(tar_bytes([*members, ("f.json", b"{}"), (".g.png", b"")], kinds=kinds))
    (ref,) = list_scenes([tmp_path / "x.tar"])
    assert read_bytes(ref) == png(1)  # of members of one name the last counts, as when it is unpacked
    (tmp_path / "y.tar").write_bytes(tar_bytes([("s//a.png", png(2)), ("s/./a.png", png(3)), ("s/a.png", png(4))]))
    assert [(one.image_id, read_bytes(one)) for one in list_scenes([tmp_path / "y.tar"])] == [("y.tar#s/a.png", png(4))]
    assert "replaced by a later one of the same name (2)" in capsys.readouterr().err
    _, text = said(capsys, tmp_path / "x.tar")
    assert "5 tar members were skipped: links (2), " in text
    for reason in (".psd files (1)", "neither files nor folders (1)", "replaced by a later one of the same name (1)"):
        assert reason in text


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(tmp_path, tar_format):
    names = ["a.png", "./b.png", "caf\u00e9/\u732b.png", "deep/" * 15 + "c.png", "deep/" * 20 + "d" * 90 + ".png"]
    names = [name for name in names if tar_format != tarfile.USTAR_FORMAT or len(name) < 100]
    contents = [png(number)[: 200 * number + 1] for number in range(len(names))]
    (tmp_path / "x.tar").write_bytes(tar_bytes(list(zip(names, contents, strict=True)), tar_format))
    with tarfile.open(tmp_path / "x.tar") as tar, open(tmp_path / "x.tar", "rb") as file:
        expected = [(member.name, member.offset_data, member.size) for member in tar]
        assert [(one.name, *one.span) for one in TarReader(file)] == expected


def test_names_that_are_no_utf8_get_visible_ids(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar_bytes([("caf\udce9.png", png(0))]))
    assert ids(tmp_path / "x.tar") == ["x.tar#caf\\xe9.png"]


def with_size(header, field):
    """A header with another size field and its checksum made right."""
    block = bytearray(header)
    block[124:136], block[148:156] = field, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
@pytest.mark.parametrize("size", [-512, -1024, 1 << 40, (1 << 63) - 1])
def test_sizes_that_a_header_claims_hang_nothing(tmp_path, kind, size, first):
    info = tarfile.TarInfo("n.jpg")
    info.type = kind
    field = b"\xff" * 4 + size.to_bytes(8, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")
    bad = with_size(info.tobuf(tarfile.GNU_FORMAT), field) + bytes(10240)
    (tmp_path / "x.tar").write_bytes((b"" if first else tar_bytes([("a.png", png(0))])[:-10240]) + bad)
    refs = list_scenes([tmp_path / "x.tar"])
    assert refs[0].image_id == "x.tar"  # the row that says what is lost
    with pytest.raises(DecodeError, match=r"claims|ends"):
        load_scene(refs[0])


@pytest.mark.parametrize(
    ("pax", "message"),
    [({"size": "-512"}, "claims -512 bytes"), ({"size": "9" * 5000}, "claims 9+ bytes"), ({"size": "x"}, "claims x")],
)
def test_sizes_that_a_pax_header_claims(tmp_path, pax, message):
    shard = tar_bytes([("a.png", png(0)), ("b.png", b"")], tarfile.PAX_FORMAT, pax={"b.png": pax})
    (tmp_path / "x.tar").write_bytes(shard)
    broken, good = list_scenes([tmp_path / "x.tar"])
    assert read_bytes(good) == png(0)
    with pytest.raises(DecodeError, match=message):
        load_scene(broken)


def test_flipped_bits_end_in_rows_and_errors_alone(tmp_path):
    whole = bytearray(
        tar_bytes([(f"{n}.png", png(n)) for n in range(3)], tarfile.PAX_FORMAT, pax={"1.png": {"k": "v"}})
    )
    random = np.random.default_rng(0)
    for number in range(50):
        at = int(random.integers(len(whole)))
        path = tmp_path / f"{number}.tar"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << number % 8)]) + whole[at + 1 :])
        assert 1 <= len(list_scenes([path])) <= 4


def test_a_list_of_settings_that_takes_long_to_parse_is_refused(tmp_path):
    extra = b"1 " * 400_000  # each begins a search to the end in tarfile (CVE-2024-6232 is of this kind)
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(extra)
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + extra + bytes(-len(extra) % 512) + bytes(1024))
    with pytest.raises(DecodeError, match="a pax header is damaged"):
        load_scene(*list_scenes([tmp_path / "x.tar"]))

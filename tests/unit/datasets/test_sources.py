import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.scenes import write_scenes

from samclr import log
from samclr.datasets import sources
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError
from samclr.scenes.decode import DecodeError, decode_rgb, load_scene
from samclr.scenes.reading import read_bytes
from samclr.scenes.refs import IMAGE_SUFFIXES, SceneRef, relative_id


def write_parquet(path, encoded, column="image", **extra):
    table = pa.table({column: [{"bytes": b, "path": None} for b in encoded], **extra})
    pq.write_table(table, path, row_group_size=2)


def test_a_folder_is_listed_with_portable_ids(scenes):
    (scenes / ".hidden.png").write_bytes(b"x")
    (scenes / "notes.txt").write_text("no image")
    ids = [ref.image_id for ref in list_scenes([scenes])]
    assert ids == sorted(ids)
    assert len(ids) == 12
    assert ids[0] == "a/000.png"


def test_several_sources_carry_their_names(scenes, photo_folder):
    ids = [ref.image_id for ref in list_scenes([scenes, photo_folder])]
    assert "scenes/a/000.png" in ids
    assert "photos/0.png" in ids


def test_two_sources_of_one_name_stay_apart(tmp_path, scenes):
    other = tmp_path / "more" / "scenes"
    (other / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(other / "a" / "000.png")
    ids = [ref.image_id for ref in list_scenes([scenes, other])]
    assert {"scenes/a/000.png", "scenes-2/a/000.png"} <= set(ids)


def test_parquet_rows_are_images(tmp_path, scenes):
    encoded = [read_bytes(ref) for ref in list_scenes([scenes])[:5]]
    write_parquet(tmp_path / "set.parquet", encoded)
    refs = list_scenes([tmp_path / "set.parquet"])
    assert [ref.image_id for ref in refs] == [f"set.parquet#{row}" for row in range(5)]
    assert [read_bytes(ref) for ref in refs] == encoded


def test_a_parquet_file_written_anew_is_read_anew(tmp_path, scenes):
    refs = list_scenes([scenes])
    path = tmp_path / "set.parquet"
    for ref in refs[:2]:
        write_parquet(path, [read_bytes(ref)])
        os.utime(path, ns=(1, 1) if ref is refs[0] else (2, 2))
        (row,) = list_scenes([path])
        assert read_bytes(row) == read_bytes(ref)


def test_a_broken_parquet_file_is_one_broken_image(tmp_path):
    (tmp_path / "set.parquet").write_bytes(b"PAR1 not really")
    (ref,) = list_scenes([tmp_path])
    with pytest.raises(ValueError, match="cannot read"):
        load_scene(ref)


def test_ids_do_not_tell_where_the_source_lies(tmp_path):
    for source in (tmp_path, Path(".")):
        assert relative_id(os.path.join(source, "a", "b.png"), source) == "a/b.png"
        assert relative_id(str(source), source) == "."  # a source that cannot itself be listed


def test_links_in_a_circle_end(scenes):
    (scenes / "a" / "up").symlink_to(scenes)
    assert len(list_scenes([scenes])) == 12


def test_a_link_to_a_folder_that_is_listed_is_said(scenes, capsys, monkeypatch):
    monkeypatch.setattr(log, "_SAID", set())
    (scenes / "z").symlink_to(scenes / "a")
    assert len(list_scenes([scenes])) == 12
    assert f"{scenes}/z is a link to a folder that was listed before: it is not listed again" in capsys.readouterr().err


def test_parquet_files_that_their_names_promise_are_missed(tmp_path, scenes, capsys, monkeypatch):
    monkeypatch.setattr(log, "_SAID", set())
    encoded = [read_bytes(ref) for ref in list_scenes([scenes])]
    (tmp_path / "set").mkdir()
    for name in ("train-00001-of-00003", "test-00000-of-00001", "x-00000-of-00002-0a1b2c3d4e5f6a7b", "y-1-of-2"):
        write_parquet(tmp_path / "set" / f"{name}.parquet", encoded[:2])
    assert len(list_scenes([tmp_path / "set"])) == 8
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "2 of 3 Parquet files of one set are missing: train-00000-of-00003.parquet, train-00002-of-00003.parquet",
        "1 of 2 Parquet files of one set are missing: x-00001-of-00002.parquet",
    ]


def test_folders_without_permission_are_said_to_be_that(scenes, monkeypatch):
    ref = SceneRef(image_id="a/", path=str(scenes / "a"))  # as a folder is listed that cannot be
    with pytest.raises(DecodeError, match=r"the folder .*/a cannot be listed; see to its permissions"):
        load_scene(ref)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ScenesError, match=r"scenes cannot be listed \(permission denied\)"):
        list_scenes([scenes])


def test_names_that_are_no_utf8_get_visible_ids(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", path)
    (ref,) = list_scenes([tmp_path])
    assert ref.image_id == "caf\\xe9.png"
    assert decode_rgb(read_bytes(ref)).shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "missing", "no such folder or file: .*missing; expected a folder of images"),
        (lambda p: p, r"no image under .*: looked in all its sub-folders for \.jpg"),
        (lambda p: (p / "a.csv").write_text("") or p / "a.csv", "is neither an image nor a Parquet file"),
    ],
)
def test_wrong_paths_say_what_was_looked_for(tmp_path, make, message):
    with pytest.raises(ScenesError, match=message):
        list_scenes([make(tmp_path)])


def test_parquet_without_images_names_its_columns(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "t.parquet")
    (ref,) = list_scenes([tmp_path])
    with pytest.raises(ValueError, match=r"no image column.*found text"):
        load_scene(ref)


def said(capsys, folder):
    """Ids, and what listing says."""
    log._SAID.clear()
    found = [ref.image_id for ref in list_scenes([folder])]
    return found, capsys.readouterr().err


def test_every_kind_of_photograph_is_read(tmp_path):
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "gif": "GIF", "avif": "AVIF", "jp2": "JPEG2000", "ppm": "PPM", "dib": "DIB"}
    for suffix, kind in kinds.items():
        Image.new("RGB", (16, 16), "red").save(tmp_path / f"x.{suffix}", kind)
    refs = list_scenes([tmp_path])
    assert len(refs) == len(kinds)
    assert all(load_scene(ref).pixels.shape == (16, 16, 3) for ref in refs)


def test_what_is_not_read_is_counted_and_named_once(scenes, capsys, monkeypatch):
    before = [ref.image_id for ref in list_scenes([scenes])]
    monkeypatch.setattr(sources, "image_suffixes", lambda: IMAGE_SUFFIXES)  # as without plugins
    (scenes / "README").write_text("x")
    for name in (
        "x.heic",
        "y.HEIC",
        "z.psd",
        "odd.xyz",
        "plain",
        "notes.txt",
        "a/labels.json",
        ".DS_Store",
        "._x.jpg",
        "t.tar",
    ):
        (scenes / name).write_bytes(b"x")
    found, text = said(capsys, scenes)
    assert found == before
    assert text.count("skipped") == 1
    assert "6 files were skipped: .heic (2), .psd (1), .tar (1), .xyz (1), without a suffix (1); " in text
    assert "to read some of them: pip install samclr[heif]" in text
    list_scenes([scenes])
    assert capsys.readouterr().err == ""


def test_an_error_for_a_folder_without_images_names_what_there_was(tmp_path):
    (tmp_path / "x.psd").write_bytes(b"8BPS")
    with pytest.raises(ScenesError, match=r"no image under .*\(1 file was skipped: \.psd \(1\)\)"):
        list_scenes([tmp_path])


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "b.parquet")
    (tmp_path / "c.png").symlink_to("/dev/zero")
    (tmp_path / "d.png").symlink_to("d.png")  # a link to itself
    (tmp_path / "e.png").symlink_to("nowhere")
    (tmp_path / "f.png").mkdir()  # a folder
    Image.new("RGB", (8, 8)).save(tmp_path / "f.png/inside.png")
    connection = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)  # names of sockets are short
    connection.bind("g.png")
    os.chdir(here)
    errors = {}
    for ref in list_scenes([tmp_path]):
        try:
            load_scene(ref)
        except DecodeError as error:
            errors[ref.image_id] = str(error)
    connection.close()
    expected = {"a.jpg": "a pipe", "b.parquet": "a pipe", "c.png": "a device", "g.png": "a socket"}
    expected |= {"d.png": "Too many levels of symbolic links", "e.png": "No such file"}
    assert {name: what in errors[name] for name, what in expected.items()} == dict.fromkeys(expected, True)
    assert set(errors) == set(expected)


def test_a_file_of_holes_is_not_read(tmp_path):
    with open(tmp_path / "x.jpg", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DecodeError, match="the file has 1,099,511,627,776 bytes, over the limit"):
        load_scene(*list_scenes([tmp_path]))


@pytest.mark.parametrize("name", ["x.tar", "x.jpg", "x.parquet"])
def test_a_pipe_that_is_named_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ScenesError, match="is a pipe, a socket or a device; expected a folder or a regular file"):
        list_scenes([tmp_path / name])


def test_a_folder_of_pipes_named_like_shards(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(DecodeError, match="is a pipe"):
        load_scene(*list_scenes([tmp_path]))


def test_sources_that_are_given_twice_are_said(tmp_path, capsys):
    inner = write_scenes(tmp_path / "all" / "some", 2)
    (tmp_path / "link").symlink_to(inner)
    assert len(list_scenes([tmp_path / "all", tmp_path / "link"])) == 4
    assert f"{inner} lies inside {tmp_path / 'all'}, which is given too: its images are listed twice" in (
        capsys.readouterr().err
    )
    assert len(list_scenes([inner, tmp_path / "link"])) == 4
    assert f"{inner} is given twice: its images are listed twice" in capsys.readouterr().err

"""Files in one move, names that stay in their folder, locks."""

import errno
import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.windows import play_windows

from samclr.errors import FilesError
from samclr.storage import files
from samclr.storage.files import (
    confined,
    is_portable,
    read_json,
    replacing,
    replacing_path,
    safe_name,
    write_bytes,
    write_json,
    write_text,
)
from samclr.storage.locks import locked
from samclr.storage.passing import passing_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made" / "a.txt"
    with replacing(path) as file:
        file.write("old")
        assert not path.exists()
    with pytest.raises(TypeError), replacing(path) as file:
        file.write(file.write("new"))
    assert path.read_text() == "old"
    assert names(path.parent) == ["a.txt"]


def test_a_folder_takes_the_place_of_a_folder(tmp_path):
    for content in ("old", "new"):
        with replacing_path(tmp_path / "out") as beside:
            beside.mkdir()
            (beside / content).write_text(content)
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new"]


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    gone = multiprocessing.get_context("spawn").Process(target=int)
    gone.start()
    gone.join()
    machine = files._machine()
    dead, alive = f"a.txt.{machine}-{gone.pid}-0.tmp", f"a.txt.{machine}-{os.getppid()}-0.tmp"
    fresh, stale = "a.txt.0000abcd-7-0.tmp", "a.txt.0000abcd-8-0.tmp"  # of another machine
    for name in (dead, alive, fresh, stale, "a.txt.tmp", "b.txt.tmp"):
        (tmp_path / name).write_text("")
    os.utime(tmp_path / stale, (time.time() - 2 * files.LEFTOVER_AGE_S,) * 2)
    write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == sorted(["a.txt", alive, fresh, "a.txt.tmp", "b.txt.tmp"])


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FilesError, match=rf"no room for {tmp_path}/a.txt of 4 bytes: its disk has .* GB free") as error:
        write_text(tmp_path / "a.txt", "text")
    assert "rerun the same command" in str(error.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a", "a/../../b", "C:/a", "C:a", "\\\\host\\a", "\\a", "a\\..\\b", "a\0b"]
)
def test_names_that_lead_out_of_their_folder_are_refused(tmp_path, name):
    with pytest.raises(FilesError, match=r"leads out of .*expected a relative path"):
        confined(tmp_path, name)


@pytest.mark.parametrize("name", ["a.png", "cam1/a.png", "a..b/..c", "train.parquet#3", "x.tar#a/b.png"])
def test_other_names_stay_in_it(tmp_path, name):
    assert confined(tmp_path, name) == tmp_path / name


def test_safe_names_differ_when_their_texts_do():
    texts = ["a", "A", "a b", "a/b", "a:b", "ä", "", ".", "..", ".a", "CON", "con", "nul.json", "x" * 300, "x" * 301]
    texts += ["a\n", "a.", "A b"]
    made = [safe_name(text) for text in texts]
    assert len({name.casefold() for name in made}) == len(texts)
    assert all(0 < len(name) <= 80 and is_portable(name) and not set(name) & set('/\\:*?"<>|\n ') for name in made)
    assert made[0] == "a"


def test_json_goes_there_and_back_and_damage_is_named(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(path, 7) == 7
    write_json(path, {"a": [1, None]})
    assert read_json(path, 7) == {"a": [1, None]}
    for damage in (b"{", b"\xff\xfe\x00", b"[" * 100_000):
        path.write_bytes(damage)
        with pytest.raises(FilesError, match=r"a\.json is damaged"):
            read_json(path, 7)


def hold(path: Path, held: object, done: object) -> None:
    with locked(path):
        held.set()
        done.wait()


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "locks" / "a", held, done))
    process.start()
    assert held.wait(60)
    with locked(tmp_path / "locks" / "a", wait=False) as mine:
        assert not mine
    process.kill()
    process.join()
    with locked(tmp_path / "locks" / "a", wait=False) as mine:
        assert mine
        with locked(tmp_path / "locks" / "a", wait=False) as twice:
            assert not twice


def test_a_device_or_pipe_is_never_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FilesError, match="is a pipe, which is never overwritten"):
        write_text(pipe, "words")
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_the_current_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(FilesError, match="expected the name of a file"):
        write_text(Path(""), "words")


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", none)
    with (
        pytest.raises(FilesError, match=r"the file system of .* does not support locks .*; mount it with them"),
        locked(tmp_path / "a"),
    ):
        pass


def test_windows_replaces_a_file_once_its_reader_is_gone_and_says_which_stays(tmp_path, monkeypatch):
    """Played: see support.windows."""
    path, folder = tmp_path / "a.bin", tmp_path / "index"
    write_bytes(path, b"old")
    folder.mkdir()
    write_bytes(folder / "b.bin", b"old")
    played = play_windows(monkeypatch)
    monkeypatch.setattr(files, "BUSY_S", 30.0)
    reader = open(path, "rb")  # noqa: SIM115 - closed meanwhile
    threading.Timer(0.1, reader.close).start()
    write_bytes(path, b"new")
    assert (path.read_bytes(), played.refused) == (b"new", [path] * len(played.refused))
    assert len(played.refused) > 0

    monkeypatch.setattr(files, "BUSY_S", 0.05)
    mapped = [np.memmap(one, np.uint8, "r") for one in (path, folder / "b.bin")]
    with pytest.raises(files.BusyError, match=r"a\.bin is open in another program, .*; close that program"):
        write_bytes(path, b"newer")
    with pytest.raises(files.BusyError, match="index is open in another program"), replacing_path(folder) as beside:
        beside.mkdir()
    assert not files.remove_if_free(path)
    assert names(tmp_path) == ["a.bin", "index"]
    del mapped
    assert files.remove_if_free(path)
    assert names(tmp_path) == ["index"]


def test_what_cannot_be_replaced_for_another_reason_is_said_at_once(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "a")

    monkeypatch.setattr(files, "BUSY_S", 600.0)
    monkeypatch.setattr(files.os, "replace", refused)
    with pytest.raises(PermissionError, match="Permission denied"):
        write_text(tmp_path / "a", "text")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_place_that_may_not_be_written_is_named_and_not_what_stands_beside_it(tmp_path, monkeypatch, code):
    path = tmp_path / "made" / "report.html"

    def write(named: Path) -> None:
        with files.room_for(path):
            raise OSError(code, "no", str(named))

    for named in (path, path.with_name("report.html.0a-1-0.tmp"), path.parent, tmp_path):
        with pytest.raises(FilesError, match=rf"cannot write {path} \(no\); name a place that you may write to"):
            write(named)
    with pytest.raises(OSError, match="other"):  # what is read meanwhile is another matter
        write(tmp_path / "other")
    monkeypatch.setenv("SAMCLR_CACHE", str(tmp_path))
    with pytest.raises(FilesError, match=r"set \$SAMCLR_CACHE to a folder that you may write to"):
        write(path)


@pytest.mark.parametrize("name", ["cam/a:b.png", "x/nul.png", "x/AUX", "a/b.", "a /b", "a?", "com1.tar#a"])
def test_names_that_windows_does_not_take_are_refused_there(tmp_path, monkeypatch, name):
    assert confined(tmp_path, name) == tmp_path / name
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    with pytest.raises(FilesError, match="is not one that Windows takes; rename what it belongs to"):
        confined(tmp_path, name)


def _killed_in_a_folder(inside: Path) -> None:
    with passing_folder(inside, "measuring") as folder:
        (folder / "features").write_bytes(b"x")
        os._exit(1)


def test_the_folder_of_a_killed_process_goes_with_the_next_call(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_killed_in_a_folder, args=(tmp_path,))
    process.start()
    process.join()
    assert len(list(tmp_path.glob("measuring.*/features"))) == 1
    with passing_folder(tmp_path, "measuring") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []

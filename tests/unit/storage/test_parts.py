import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.damage import flip_a_bit

from samclr.errors import PartsError
from samclr.storage.parts import PartsFolder

MAKER = {"segmenter": "x"}


def rows(**values):
    return pa.table({"image_id": list(values), "status": list(values.values())})


def test_parts_add_up_and_the_later_one_wins(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)
    folder.publish(0, lambda _: rows(b="error", a="ok"))
    folder.publish(0, lambda _: rows(b="ok"))
    read = folder.read()
    assert read["image_id"].to_pylist() == ["a", "b"]
    assert read["status"].to_pylist() == ["ok", "ok"]
    assert [stem for stem, _ in folder.parts()] == ["b00000-p00000", "b00000-p00001"]


def test_a_part_that_fails_leaves_nothing_and_leftovers_go(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)

    def fail(companion):
        companion.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folder.publish(0, fail)
    assert len(folder.read()) == 0
    assert list(folder.path.glob("*.tmp"))
    folder.remove_leftovers(0)
    assert not list(folder.path.glob("*.tmp"))


def test_a_part_without_a_column_is_damaged(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)
    folder.publish(0, lambda _: rows(a="ok"))
    with pytest.raises(PartsError, match=r"b00000-p00000.parquet is damaged \(.*height.*delete this file"):
        folder.read(["image_id", "height"])


def test_files_that_are_no_parts_are_left_alone(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)
    folder.publish(0, lambda _: rows(a="ok"))
    (folder.path / "backup-parts.parquet").write_bytes(b"mine")
    assert len(folder.read()) == 1
    assert list(folder.paths_by_bucket()) == [0]


def test_another_maker_is_refused(tmp_path):
    PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)
    with pytest.raises(PartsError, match=r'made with \{"segmenter": "x"\}, now asked for .*name another folder'):
        PartsFolder.create_or_open(tmp_path / "f", "store", {"segmenter": "y"}, 10)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(PartsError, match="exists and is not a store"):
        PartsFolder.create_or_open(tmp_path, "store", MAKER, 10)
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is damaged"), (json.dumps({"kind": "store", "format": 99}), "of format 99; expected a store of format 1")],
)
def test_a_manifest_that_does_not_fit_is_named(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(PartsError, match=message):
        PartsFolder(tmp_path, "store")


def test_no_folder_is_no_store(tmp_path):
    with pytest.raises(PartsError, match="is not a store: there is no such folder"):
        PartsFolder(tmp_path / "missing", "store")


def test_a_damaged_part_is_named(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)
    (folder.path / "b00000-p00000.parquet").write_bytes(b"junk")
    with pytest.raises(PartsError, match=r"b00000-p00000.parquet is damaged .*delete this file"):
        folder.read()


def test_a_bucket_has_one_owner_and_a_dead_one_frees_it(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)
    code = f"""
import os
from pathlib import Path
from samclr.storage.parts import PartsFolder
with PartsFolder(Path({str(folder.path)!r}), "store").lock(0) as locked:
    print(locked, flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    with folder.lock(0) as locked:
        assert not locked
    with folder.lock(1) as locked:
        assert locked
    other.kill()
    other.wait()
    with folder.lock(0) as locked:
        assert locked


def test_buckets_do_not_depend_on_the_list(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 1000)
    assert folder.num_buckets == 63
    again = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 5)
    assert again.bucket_of("a/1.png") == folder.bucket_of("a/1.png")


def test_every_flip_in_a_part_or_manifest_is_noticed_or_harmless(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)
    folder.publish(0, lambda _: rows(**{f"image{number}": "ok" for number in range(16)}))
    (part,) = folder.part_paths()
    content, expected = part.read_bytes(), folder.read()
    random = np.random.default_rng(0)
    noticed = 0
    for _ in range(300):
        flip_a_bit(part, random, content)
        try:
            assert folder.read().equals(expected)
        except PartsError:
            noticed += 1
    assert noticed > 250
    part.write_bytes(content)
    for name in ("manifest.json", "manifest-copy.json"):
        content = (folder.path / name).read_bytes()
        for _ in range(50):
            flip_a_bit(folder.path / name, random, content)
            again = PartsFolder.create_or_open(folder.path, "store", MAKER, 10)
            assert (again.num_buckets, again.part_rows) == (folder.num_buckets, folder.part_rows)
    assert pq.read_table(part).sort_by("image_id").equals(expected)  # any reader of Parquet reads it


def test_a_few_columns_are_checked_alone(tmp_path):
    folder = PartsFolder.create_or_open(tmp_path / "f", "store", MAKER, 10)
    folder.publish(0, lambda _: rows(a="ok", b="ok"))
    (part,) = folder.part_paths()
    content = bytearray(part.read_bytes())
    column = pq.read_metadata(part).row_group(0).column(1)
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 4
    part.write_bytes(content)
    assert folder.read(["image_id"])["image_id"].to_pylist() == ["a", "b"]
    with pytest.raises(PartsError, match="the checksum of its column status does not fit"):
        folder.read(["image_id", "status"])


def test_several_processes_create_or_open_one_folder(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        for trial in range(50):
            path = tmp_path / str(trial)
            list(pool.map(lambda _, path=path: PartsFolder.create_or_open(path, "store", MAKER, 100), range(4)))


READING = """
import os, sys
from pathlib import Path
import pyarrow as pa
from samclr.storage.checksums import read_parquet, write_parquet
path = Path(sys.argv[1])
write_parquet(pa.table({"a": list(range(1000)), "b": ["x"] * 1000}), path)
before = set(os.listdir("/proc/self/task"))
assert read_parquet(path, ["b"]).num_rows == 1000
print(len(set(os.listdir("/proc/self/task")) - before))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux lists them")
def test_reading_a_part_starts_no_thread_that_python_does_not_know_of(tmp_path):
    """Such a thread may hold on to what Python's file gave it until after the end of Python, which aborts then."""
    done = subprocess.run(
        [sys.executable, "-c", READING, tmp_path / "a.parquet"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr

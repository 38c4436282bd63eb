"""A run directory: damage is noticed in each of its files, and one process at a time trains in it."""

import json
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
from support.damage import flip_a_bit
from support.runs import small_config

from samclr.errors import RunError, SamclrError
from samclr.runs.directory import (
    SUMMARY_FILE,
    MetricsLog,
    locked_run,
    open_run,
    read_json,
    read_metrics,
    steps_without_row,
)
from samclr.runs.saved import load_config
from samclr.storage.files import write_json

ROWS = [{"step": step, "loss": 0.1 * step + 0.123456789, "epoch": 0.5} for step in range(20)]


def write_metrics(run):
    run.mkdir(exist_ok=True)
    log = MetricsLog(run, 0)
    log.write(ROWS)
    log.close()
    return run / "metrics.jsonl"


def test_metrics_with_a_flipped_bit_lose_that_row_alone_and_say_so(tmp_path, capsys):
    path = write_metrics(tmp_path / "run")
    before = path.read_bytes()
    assert read_metrics(tmp_path / "run") == ROWS
    random = np.random.default_rng(0)
    for _ in range(100):
        flip_a_bit(path, random, before)
        rows = read_metrics(tmp_path / "run")
        said = capsys.readouterr().err
        lost = [row for row in ROWS if row not in rows]
        assert all(row in ROWS for row in rows)
        assert len(lost) <= 2  # two where the flip joins two lines
        assert (lost == []) == ("damaged" not in said)


def test_damaged_lines_are_counted_and_stay_counted_when_the_run_goes_on(tmp_path, capsys):
    path = write_metrics(tmp_path / "run")
    lines = path.read_bytes().split(b"\n")
    lines[3], lines[7] = b"\xff\xfe" + lines[3], b"[1, 2]"
    path.write_bytes(b"\n".join(lines)[:-5])  # and a last line cut by a kill
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [k for k in range(19) if k not in (3, 7)]
    assert "metrics.jsonl: 2 of 19 lines are damaged and left out; the others are kept" in capsys.readouterr().err
    log = MetricsLog(tmp_path / "run", 15)
    log.write(ROWS[15:])
    log.close()
    capsys.readouterr()
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == [k for k in range(20) if k not in (3, 7)]
    assert capsys.readouterr().err == ""
    assert steps_without_row(rows) == 2


def test_metrics_of_older_versions_have_no_checksums(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert read_metrics(tmp_path) == ROWS


def is_read(read, expected):
    try:
        return read() == expected
    except SamclrError:
        return False


def test_flips_in_the_json_of_a_run_are_noticed(scenes, tmp_path):
    run, config = tmp_path / "run", small_config(scenes)
    open_run(run, config)
    write_json(run / SUMMARY_FILE, {"steps_done": 7, "errors": {"a": "b"}}, sealed=True)
    random = np.random.default_rng(0)
    for name, read in (
        ("config.json", lambda: load_config(run)),
        (SUMMARY_FILE, lambda: read_json(run / SUMMARY_FILE, {})),
    ):
        before, expected = (run / name).read_bytes(), read()
        for _ in range(50):
            flip_a_bit(run / name, random, before)
            with nullcontext() if is_read(read, expected) else pytest.raises(SamclrError, match=r"damaged.*restore"):
                read()
        (run / name).write_bytes(before)


@pytest.mark.slow
def test_one_process_trains_in_a_run_directory(tmp_path):
    code = f"""
from pathlib import Path
from samclr.runs.directory import locked_run
with locked_run(Path({str(tmp_path / "run")!r})):
    print("held", flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(RunError, match=rf"run is in use by another pretrain \(process {other.pid} on .*, since .*`out`"),
        locked_run(tmp_path / "run"),
    ):
        pass
    other.kill()
    other.wait()
    with locked_run(tmp_path / "run"):
        open_run(tmp_path / "run", small_config(tmp_path / "scenes"))
    assert load_config(tmp_path / "run") == small_config(tmp_path / "scenes")


def test_a_lock_leaves_nothing_in_a_foreign_folder_or_of_a_run_that_was_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(RunError, match="is not a run directory"), locked_run(tmp_path / "mine"):
        open_run(tmp_path / "mine", small_config(tmp_path))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    with pytest.raises(ValueError, match="refused"), locked_run(tmp_path / "new"):
        raise ValueError("refused")
    assert not (tmp_path / "new").exists()

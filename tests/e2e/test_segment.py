"""Segmenting as it happens: killed, run twice at a time, with files that change."""

import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from support.command import SMALL_FLAGS, command, samclr
from support.scenes import write_scenes

from samclr.regions.store import open_store


def rows_of(store):
    """Without their times. A region without a point has NaN there, which is unequal to itself, and None here."""
    rows = open_store(store).read().drop_columns(["segment_s"]).to_pylist()
    for region in (region for row in rows for region in row["regions"] or ()):
        region["point_xy"] = None if math.isnan(region["point_xy"][0]) else region["point_xy"]
    return rows


def parts_of(store):
    return list(store.glob("*.parquet"))


def segment(scenes, store, *more):
    return ["segment", scenes, "--scale", 30, "--min-size", 20, "--out", store, *more]


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_equals_uninterrupted(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 400)
    for number, content in enumerate((b"", b"no image", bytes(99), (scenes / "a/000.png").read_bytes()[:80])):
        (scenes / f"broken-{number}.png").write_bytes(content)
    assert samclr(*segment(scenes, tmp_path / "whole")).returncode == 0
    moments = random.Random()
    for _ in range(3):
        process = subprocess.Popen(
            command(*segment(scenes, tmp_path / "killed", "--workers", 2)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = len(parts_of(tmp_path / "killed"))
        while len(parts_of(tmp_path / "killed")) < before + moments.randint(1, 4) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 3 <= len(parts_of(tmp_path / "killed")) < len(parts_of(tmp_path / "whole"))  # it was at work each time
    done = samclr(*segment(scenes, tmp_path / "killed"))
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob("*.tmp"))


@pytest.mark.slow
def test_two_processes_fill_one_store(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 200)
    both = [
        subprocess.Popen(
            command(*segment(scenes, tmp_path / "store", "--workers", 1)), stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    news = []
    for process in both:
        _, text = process.communicate(timeout=300)
        assert process.returncode == 0, text
        news.append(int(re.search(r"\((\d+) new", text)[1]))
    assert sum(news) == 200  # each image by one of them
    assert len(rows_of(tmp_path / "store")) == 200
    assert samclr("regions", "verify", tmp_path / "store").returncode == 0


@pytest.mark.slow
def test_files_that_change(scenes, tmp_path):
    store = tmp_path / "store"
    assert "segmented 12 of 12" in samclr(*segment(scenes, store)).stderr
    (scenes / "a/new.png").write_bytes((scenes / "a/000.png").read_bytes())
    assert "(1 new" in samclr(*segment(scenes, store)).stderr
    (scenes / "a/000.png").write_bytes((scenes / "b/001.png").read_bytes())
    done = samclr(*segment(scenes, store))
    assert done.returncode == 1
    assert "a/000.png; run samclr segment with --replace-changed" in done.stderr
    assert "(1 new" in samclr(*segment(scenes, store, "--replace-changed")).stderr


def test_strict_turns_a_broken_file_into_a_failure(scenes, tmp_path):
    (scenes / "a/broken.png").write_bytes(b"")
    done = samclr(*segment(scenes, tmp_path / "store"))
    assert done.returncode == 0
    assert "failed: a/broken.png: the file is empty" in done.stderr
    assert samclr(*segment(scenes, tmp_path / "store", "--strict")).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_with_the_image_in_hand_and_says_so(tmp_path, workers):
    scenes = write_scenes(tmp_path / "scenes", 240)
    slow = ["segment", scenes, "--segmenter", "sam-digits", "--device", "cpu", "--points-per-side", 12]
    process = subprocess.Popen(
        command(*slow, "--out", tmp_path / "store", "--workers", workers),
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while len(parts_of(tmp_path / "store")) < 2 and process.poll() is None:
        time.sleep(0.01)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert time.monotonic() - start < 20
    lines = [line for line in said.splitlines() if line.strip()]
    assert lines[-2] == "stopping after the current images; press Ctrl-C again to stop at once"
    kept = len(rows_of(tmp_path / "store"))
    assert 2 <= kept < 240
    assert lines[-1].startswith(f"stopped: {kept} new images are kept in {tmp_path / 'store'}; rerun the same command")
    told = [line for line in lines[:-2] if " of 240 images after " not in line]  # on a slow machine
    assert told == ["segmenter: sam-digits on cpu"]
    assert not list((tmp_path / "store").glob("*.tmp"))


def wait_for_workers(process, number):
    """Until so many processes have been started; they still import then."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    started: set[str] = set()
    while len(started) < number and process.poll() is None:
        started |= {child for child in children.read_text().split() if "spawn_main" in cmdline_of(child)}
        time.sleep(0.01)


def cmdline_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # ended meanwhile
        return ""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_group_ends_no_worker_that_starts(tmp_path, number, status):
    scenes = write_scenes(tmp_path / "scenes", 40)
    words = command("segment", scenes, "--out", tmp_path / "store", "--workers", 2)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for_workers(process, 2)
    os.killpg(process.pid, number)  # as `timeout` does, too
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("stopped: ")


def test_a_second_ctrl_c_waits_for_nobody(tmp_path):
    photo = write_scenes(tmp_path / "scenes", 40) / "a/000.png"
    for path in (tmp_path / "scenes").rglob("*.png"):
        Image.open(photo).resize((2000, 2000)).save(path)
    slow = command("segment", tmp_path / "scenes", "--out", tmp_path / "store", "--workers", 2)
    process = subprocess.Popen(slow, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for_workers(process, 2)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - start < 10
    assert "Traceback" not in said


def test_a_script_without_a_main_guard_is_told_so(scenes, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import samclr\nfrom pathlib import Path\nfrom samclr.scenes.fill import FillOptions\n"
        "from samclr.bank.bank import pack_scenes\nfrom samclr.datasets.sources import list_scenes\n"
        f"refs = list_scenes([Path({str(scenes)!r})] * 9)\n"
        f"pack_scenes(refs, Path({str(tmp_path / 'bank')!r}), None, FillOptions(num_workers=2))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "which has no `if __name__ ==" in done.stderr.splitlines()[-1]


def test_all_failed_is_a_failure_and_names_some(tmp_path):
    (tmp_path / "scenes").mkdir()
    for number in range(30):
        (tmp_path / "scenes" / f"{number}.png").write_bytes(b"no image")
    for words in (
        segment(tmp_path / "scenes", tmp_path / "store"),
        ["pack", tmp_path / "scenes", "--bank", tmp_path / "b"],
    ):
        done = samclr(*words)
        assert done.returncode == 1
        assert done.stderr.count("failed: ") == 10
        assert "and 20 more; --json lists all" in done.stderr


@pytest.mark.slow
def test_what_samclr_made_is_not_taken_for_scenes(scenes, tmp_path):
    store, bank = tmp_path / "store", tmp_path / "bank"
    assert samclr(*segment(scenes, store)).returncode == 0
    assert samclr("pack", scenes, "--bank", bank).returncode == 0
    run = ["pretrain", "simclr", "--scenes", scenes, *SMALL_FLAGS, "--steps", 1, "--out", tmp_path / "run"]
    assert samclr(*run).returncode == 0
    for made, kind in ((store, "region store"), (bank, "scene bank"), (tmp_path / "run", "run directory")):
        done = samclr("segment", made, "--out", tmp_path / "other")
        assert done.returncode == 1
        assert f"{made} is a {kind}, not scenes; name the folder of images that it was made from" in done.stderr
        assert not (tmp_path / "other").exists()

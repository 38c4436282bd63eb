"""A disk that is full: one sentence with the path, and nothing half-written. Needs the right to mount a tmpfs."""

import os
import subprocess

import pytest


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 64 kB with some bytes free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root")
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def made(tmp_path, scenes, call):
    """A store and a run on a sound disk."""
    store, run = tmp_path / "store", tmp_path / "run"
    assert call("segment", scenes, "--min-size", 20, "--out", store)[0] == 0
    assert call(*pretraining(scenes, store), "--out", run)[0] == 0
    return scenes, store, run


def pretraining(scenes, store):
    tiny = ("--backbone", "small-cnn", "--size-px", 24, "--global-batch-size", 8, "--min-area-px", 20, "--steps", 1)
    where = ("--scenes", scenes, "--regions", store, "--device", "cpu", "--workers", 1)
    return ("pretrain", "samclr", *tiny, *where)


def test_every_output_says_that_its_disk_is_full(made, full_disk, call, monkeypatch):
    scenes, store, run = made
    commands = {
        "segment": ("segment", scenes, "--min-size", 20, "--out", full_disk / "store"),
        "pack": ("pack", scenes, "--bank", full_disk / "bank"),
        "pretrain": (*pretraining(scenes, store), "--out", full_disk / "run"),
        "look": ("look", store, "--scenes", scenes, "--out", full_disk / "look.html"),
        "report": ("report", run, "--out", full_disk / "report.html"),
        "export": ("export", run, "--out", full_disk / "backbone.safetensors"),
        "regions export": ("regions", "export", store, "--out", full_disk / "coco.json"),
        "regions export sa1b": ("regions", "export", store, "--layout", "sa1b", "--out", full_disk / "sa1b"),
        "demo": ("demo", "--out", full_disk / "demo"),
    }
    for name, words in commands.items():
        status, _, said = call(*words)
        assert status == 1, name
        check_sentence(name, said, full_disk)
    monkeypatch.setenv("SAMCLR_CACHE", str(full_disk / "cache"))
    status, _, said = call(*pretraining(scenes, store), "--bank", run.parent / "bank", "--out", run.parent / "other")
    assert status == 1
    check_sentence("index", said, full_disk)


def check_sentence(name, said, disk):
    assert "no room for" in said, (name, said)
    assert str(disk) in said, (name, said)
    assert "unexpected" not in said, (name, said)
    files = [path for path in disk.rglob("*") if path.is_file() and path.stat().st_size and path.name != "filler"]
    assert files == [], name

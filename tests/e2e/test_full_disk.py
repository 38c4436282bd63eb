"""A disk that is full: one sentence with the path, nothing half-written, and what was finished stays. Needs the right
to mount a tmpfs."""

import os
import subprocess

import pytest
from support.command import command
from support.scenes import write_labelled, write_labelled_scenes
from support.study_files import write_study_files

FILLER = "filler"
DENSE = ("--dense-px", 48, "--dense-steps", 5, "--dense-batch-size", 32, "--bootstrap", 100)


@pytest.fixture
def make_disk(tmp_path):
    """Makes a small disk: make_disk(its size in kB, with so many files at most)."""
    made = []

    def make(size_kb, max_files=1000):
        folder = tmp_path / f"disk{len(made)}"
        folder.mkdir()
        options = f"size={size_kb}k,nr_inodes={max_files}"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        is_root = os.name == "posix" and os.geteuid() == 0
        if not is_root or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a disk needs root")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk, free_kb=0):
    """Fill a disk until so much is free."""
    with open(disk / FILLER, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            file.truncate(file.tell() - 1024 * free_kb)
    return disk


@pytest.fixture
def full_disk(make_disk):
    """A disk of 64 kB without a free one."""
    return fill(make_disk(64))


def work_on(folder, scenes, call, *more):
    """A store and a run in a folder."""
    store, run = folder / "store", folder / "run"
    assert call("segment", scenes, "--min-size", 20, "--out", store)[0] == 0
    status, _, said = call(*pretraining(scenes, store), *more, "--bank", folder / "bank", "--out", run)
    assert status == 0, said
    return store, run


def pretraining(scenes, store):
    tiny = ("--backbone", "small-cnn", "--size-px", 24, "--global-batch-size", 8, "--min-area-px", 20, "--steps", 1)
    where = ("--scenes", scenes, "--regions", store, "--device", "cpu", "--workers", 1)
    return ("pretrain", "samclr", *tiny, *where)


def measuring(run, *sets):
    return ("evaluate", run, "--on", *sets, "--image-px", 24, "--probe-epochs", 2, "--bootstrap", 100)


def check(name, disk, call, *words):
    """A command ends with one sentence about the disk, and leaves it as it was."""
    before = contents(disk)
    status, _, said = call(*words)
    assert status == 1, (name, said)
    errors = [line for line in said.splitlines() if line.startswith("samclr: error: ")]
    assert len(errors) == 1, (name, said)
    assert errors[0].startswith("samclr: error: no room for "), (name, said)
    assert str(disk) in errors[0], (name, said)
    assert "free" in errors[0], (name, said)
    assert "Traceback" not in said, (name, said)
    assert contents(disk) == before, name


def contents(disk):
    """All files of a disk that hold anything, but for who held a lock."""
    paths = [path for path in disk.rglob("*") if path.is_file() and path.stat().st_size]
    return {path: path.read_bytes() for path in paths if path.name != FILLER and path.parent.name != "locks"}


def test_every_output_says_that_its_disk_is_full(tmp_path, scenes, full_disk, call, monkeypatch):
    store, run = work_on(tmp_path, scenes, call)
    labelled, study = write_labelled(tmp_path / "labelled"), write_study_files(tmp_path)
    commands = {
        "segment": ("segment", scenes, "--min-size", 20, "--out", full_disk / "store"),
        "pack": ("pack", scenes, "--bank", full_disk / "bank"),
        "pretrain": (*pretraining(scenes, store), "--out", full_disk / "run"),
        "look": ("look", store, "--scenes", scenes, "--out", full_disk / "look.html"),
        "report": ("report", run, "--out", full_disk / "report.html"),
        "evaluate": (*measuring(run, labelled), "--out", full_disk / "results.json"),
        "export": ("export", run, "--out", full_disk / "backbone.safetensors"),
        "export onnx": ("export", run, "--layout", "onnx", "--out", full_disk / "backbone.onnx"),
        "regions export": ("regions", "export", store, "--out", full_disk / "coco.json"),
        "regions export sa1b": ("regions", "export", store, "--layout", "sa1b", "--out", full_disk / "sa1b"),
        "study": ("study", "run", study.file, "--out", full_disk / "study", *study.flags()),
        "demo": ("demo", "--out", full_disk / "demo"),
    }
    for name, words in commands.items():
        check(name, full_disk, call, *words)
    monkeypatch.setenv("SAMCLR_CACHE", str(full_disk / "cache"))
    check("index", full_disk, call, *pretraining(scenes, store), "--bank", tmp_path / "bank", "--out", tmp_path / "new")


@pytest.mark.parametrize("layout", ["torchvision", "huggingface"])
def test_other_layouts_of_an_export_on_a_full_disk(tmp_path, scenes, full_disk, call, layout):
    _, run = work_on(tmp_path, scenes, call, "--backbone", "resnet18", "--stem", "standard")
    name = {"torchvision": "backbone.safetensors", "huggingface": "backbone"}[layout]
    check(layout, full_disk, call, "export", run, "--layout", layout, "--out", full_disk / name)


@pytest.mark.parametrize("free_kb", [0, 4, 8, 24])
def test_caches_of_an_evaluation_on_a_full_disk(tmp_path, make_disk, call, monkeypatch, free_kb):
    labelled, fields = write_labelled(tmp_path / "labelled", 40), write_labelled_scenes(tmp_path / "fields")
    disk = fill(make_disk(256), free_kb)
    probe = (*measuring("small-cnn", labelled), "--crop-probe", "--crop-px", 24, "--crop-epochs", 1)
    for name, words in {"probe": probe, "patches": ("evaluate", "small-cnn", "--dense-on", fields, *DENSE)}.items():
        monkeypatch.setenv("SAMCLR_CACHE", str(disk / name))
        status, _, said = call(*words)
        assert status == 1, said
        assert said.splitlines()[-1].startswith("samclr: error: no room for "), said
        assert str(disk) in said.splitlines()[-1]
        assert not list(disk.rglob("*.tmp")), said


def test_finished_work_stays_when_its_disk_fills(tmp_path, scenes, make_disk, call):
    disk = make_disk(65536, 5000)
    store, run = work_on(disk, scenes, call)
    labelled, files = write_labelled(tmp_path / "labelled"), write_study_files(tmp_path)
    study = ("study", "run", files.file, "--out", disk / "study", *files.flags())
    assert call(*study, "--list")[0] == 0
    assert call(*measuring(run, labelled))[0] == 0
    fill(disk)
    (scenes / "new.png").write_bytes((scenes / "a/000.png").read_bytes())
    commands = {
        "segment": ("segment", scenes, "--min-size", 20, "--out", store),
        "pack": ("pack", scenes, "--bank", disk / "bank"),
        "pretrain": (*pretraining(scenes, store), "--bank", disk / "bank", "--out", run),
        "evaluate": (*measuring(run, labelled), "--knn-k", 3),
        "look": ("look", store, "--scenes", scenes),
        "report": ("report", run),
        "study": (*study, "--index", 1),
        "study page": ("study", "page", disk / "study"),
    }
    for name, words in commands.items():
        check(name, disk, call, *words)


def test_a_disk_that_takes_no_more_files(tmp_path, scenes, make_disk, call):
    store, run = work_on(tmp_path, scenes, call)
    disk = make_disk(1024, 3)
    (disk / "one").touch()
    for name, words in {
        "segment": ("segment", scenes, "--min-size", 20, "--out", disk / "store"),
        "pretrain": (*pretraining(scenes, store), "--out", disk / "run"),
        "export": ("export", run, "--out", disk / "deep" / "backbone.safetensors"),
    }.items():
        check(name, disk, call, *words)


@pytest.mark.parametrize("free_kb", [12, 16, 20, 24])
@pytest.mark.parametrize("name", ["csv", "tensorboard"])
def test_a_logger_on_a_full_disk(tmp_path, scenes, make_disk, call, name, free_kb):
    store, _ = work_on(tmp_path, scenes, call)
    disk = fill(make_disk(256), free_kb)
    words = (*pretraining(scenes, store), "--bank", tmp_path / "bank", "--log", name, "--out", disk / "run")
    status, _, said = call(*words)
    assert status == 1, said
    assert said.splitlines()[-1].startswith(f"samclr: error: no room for {disk / 'run'}"), said
    assert "Traceback" not in said


@pytest.mark.parametrize("words", [("segmenters",), ("segmenters", "--json"), ("--version",), ("regions", "--help")])
def test_what_is_printed_into_a_file_on_a_full_disk(full_disk, words):
    with open(full_disk / "printed", "wb") as printed:
        done = subprocess.run(command(*words), stdout=printed, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"samclr: error: no room for {full_disk / 'printed'}: its disk has 0 bytes free")
    assert len(done.stderr.splitlines()) == 1, done.stderr

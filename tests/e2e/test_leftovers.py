"""What a killed process leaves beside its files is gone after the next command; what a living one writes stays."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.scenes import write_labelled, write_labelled_scenes
from support.study_files import write_study_files

from samclr.storage.locks import locked
from samclr.storage.parts import PartsFolder

WRITER = """
import sys
from contextlib import ExitStack
from pathlib import Path
from samclr.storage.files import replacing_path
with ExitStack() as stack:
    for place in sys.argv[1:]:
        stack.enter_context(replacing_path(Path(place))).write_bytes(b"half")
    print("written", flush=True)
    sys.stdin.read()
"""


def write_half(*places: Path) -> subprocess.Popen:
    """A process in the middle of writing these files."""
    words = [sys.executable, "-c", WRITER, *map(str, places)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"written\n"
    return process


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def made(tmp_path, scenes, call):
    """Every kind of folder that samclr writes to, in `tmp_path`, and the command that goes on in each."""
    store, run, cache = tmp_path / "store", tmp_path / "run", tmp_path / "cache"
    labelled, fields = write_labelled(tmp_path / "labelled", 12), write_labelled_scenes(tmp_path / "fields")
    study = write_study_files(tmp_path)
    tiny = ("--backbone", "small-cnn", "--size-px", 24, "--global-batch-size", 8, "--min-area-px", 20, "--steps", 1)
    where = ("--scenes", scenes, "--regions", store, "--bank", tmp_path / "bank", "--device", "cpu")
    measuring = ("--on", labelled, "--image-px", 24, "--probe-epochs", 2, "--bootstrap", 100, "--dense-on", fields)
    dense = ("--dense-px", 48, "--dense-steps", 5, "--dense-batch-size", 32)
    crops = ("--crop-probe", "--crop-px", 24, "--crop-epochs", 1)
    out = tmp_path / "out"
    commands = {
        "segment": (("segment", scenes, "--min-size", 20, "--out", store), [store / "manifest.json"]),
        "pretrain": (
            ("pretrain", "samclr", *tiny, *where, "--workers", 1, "--out", run),
            [
                *(run / name for name in ("config.json", "metrics.jsonl", "summary.json")),
                *(run / "locks/run.holder.json", cache / "index/other", tmp_path / "bank/manifest.json"),
            ],
        ),
        "evaluate": (
            ("evaluate", run, *measuring, *dense, *crops),
            [
                *(run / "results.json", run / "evaluation/results-other.json", cache / "features/other.npy"),
                *(cache / "patches/other-shares.npy", cache / "probes/crop-probe-other.pt"),
            ],
        ),
        "look": (("look", store, "--scenes", scenes, "--out", out / "look.html"), [out / "look.html"]),
        "report": (("report", run, "--out", out / "r/report.html"), [out / "r/report.html"]),
        "export": (
            ("export", run, "--out", out / "e/a.safetensors"),
            [out / "e/a.safetensors", out / "e/a.safetensors.md"],
        ),
        "export onnx": (("export", run, "--layout", "onnx", "--out", out / "o/a.onnx"), [out / "o/a.onnx"]),
        "regions export": (("regions", "export", store, "--out", out / "c/coco.json"), [out / "c/coco.json"]),
        "study": (
            ("study", "run", study.file, "--out", tmp_path / "study", *study.flags(), "--index", 0),
            [tmp_path / "study/study.json", tmp_path / "study/states/other.json"],
        ),
        "study page": (
            ("study", "page", tmp_path / "study"),
            [tmp_path / "study/page.html", tmp_path / "study/table.md", tmp_path / "study/costs.csv"],
        ),
    }
    for name, (words, _) in commands.items():
        status, _, said = call(*words)
        assert status == 0, (name, said)
    return tmp_path, commands


@pytest.mark.slow
def test_leftovers_of_the_dead_are_gone_after_the_next_command_and_those_of_the_living_stay(made, call):
    folder, commands = made
    assert not list(folder.rglob("*.tmp"))
    for name, (words, places) in commands.items():
        dead = write_half(*places)
        end(dead)
        left = set(folder.rglob("*.tmp"))
        assert len(left) == len(places), name
        alive = write_half(*places)
        try:
            growing = set(folder.rglob("*.tmp")) - left
            assert len(growing) == len(places), name
            status, _, said = call(*words)
            assert status == 0, (name, said)
            assert set(folder.rglob("*.tmp")) == growing, name
        finally:
            end(alive)
        for path in growing:
            path.unlink()
    for name in ("checkpoint-00000009-0123456789abcdef.pt.0000abcd-7-0.tmp", "checkpoint.tmp"):  # the second of 0.1
        (folder / "run" / name).write_bytes(b"half")  # of whomever: who holds the run's lock removes it
    assert call(*commands["pretrain"][0])[0] == 0
    assert not list(folder.rglob("*.tmp"))


def test_half_parts_are_removed_unless_their_bucket_is_in_use(scenes, tmp_path, call):
    store = tmp_path / "store"
    segment = ("segment", scenes, "--min-size", 20, "--out", store)
    assert call(*segment)[0] == 0
    folder = PartsFolder(store, "region store")
    used = folder.bucket_of("a/000.png")
    shutil.copy(store / "manifest.json", tmp_path / "kept")
    for bucket in (used, used + 1, used + 2):
        for end_of in (".parquet.tmp", ".bin.tmp"):
            (store / f"b{bucket:05d}-p00007{end_of}").write_bytes(b"half")
    with locked(store / "locks" / f"b{used + 2:05d}") as mine:
        assert mine
        assert call(*segment)[0] == 0
        assert {path.name[:6] for path in store.glob("*.tmp")} == {f"b{used + 2:05d}"}
    assert call(*segment)[0] == 0
    assert not list(store.glob("*.tmp"))

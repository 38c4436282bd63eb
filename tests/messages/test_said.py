"""Whole texts of what commands and calls say when something is wrong, missing or odd.

The files of said/ hold commands (`$ samclr ...`) and calls (`>>> samclr...`), each followed by its whole answer:
the exit status, and stderr with DIR for the folder of this test. To add a case, write its first line into a file.

SAMCLR_SNAPSHOT=1 python -m pytest tests/messages/test_said.py    writes all answers again
"""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.scenes import write_labelled, write_labelled_scenes, write_scenes
from support.vectors import write_vectors

import samclr
from samclr import log
from samclr._version import __version__
from samclr.embedding.origin import Origin, write_origin
from samclr.errors import SamclrError

SAID = Path(__file__).with_name("said")
OLD = Path(__file__).parents[1] / "formats" / "0.1"
TORN = b"\x89PNG\r\n\x1a\n torn"
NAMES = {
    "samclr": samclr,
    "zeros": lambda *shape: torch.zeros(shape),
    "ones": lambda num: torch.ones(num, dtype=torch.int64),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sound and odd things of every kind."""
    place = tmp_path_factory.mktemp("said")
    for name in ("empty", "notes", "a `bank` of `out`", "unborn", "damaged-study", "torn", "untested/train", "out"):
        (place / name).mkdir(parents=True)
    shutil.copytree(OLD / "scenes", place / "photos")
    write_scenes(place / "others", 2)
    write_labelled(place / "labelled")
    write_labelled_scenes(place / "dense", 2)
    shutil.copytree(place / "photos", place / "broken")
    for name in ("broken/torn.png", "torn/torn.png"):
        (place / name).write_bytes(TORN)
    shutil.copytree(place / "labelled", place / "torn-labelled")
    (place / "torn-labelled/train/dark/0.png").write_bytes(TORN)
    for split in ("train", "test"):
        shutil.copytree(place / "labelled/test/dark", place / "loose" / split)
    for name, text in _files().items():
        (place / name).write_text(text)
    for name, columns in {"words": ("word",), "two": ("image", "thumbnail")}.items():
        image = (place / "photos/0.png").read_bytes() if name == "two" else "word"
        pq.write_table(pa.table({column: [image] for column in columns}), place / f"{name}.parquet")
    os.mkfifo(place / "pipe")
    (place / "loop").symlink_to(place / "loop")
    shutil.copytree(OLD / "run", place / "run")
    shutil.copy(OLD / "run/config.json", place / "unborn/config.json")
    for name in ("bank", "regions"):
        shutil.copytree(OLD / name, place / {"regions": "store"}.get(name, name))
    shutil.copytree(place / "store", place / "damaged")
    (part,) = (place / "damaged").glob("b*.parquet")
    part.write_bytes(part.read_bytes()[:-40])
    _write_vectors(place)
    return place


def _write_vectors(place: Path) -> None:
    """Vectors that remember their scenes, that remember scenes which are gone, and that remember none."""
    for name, scenes in {"found": "photos", "found-moved": "gone", "found-old": None}.items():
        ids = [path.name for path in sorted((place / "photos").iterdir())]
        write_vectors(place / name, {one: np.eye(4)[[k % 4, 3]] + 0.1 for k, one in enumerate(ids)}, part_images=99)
        if scenes is not None:
            backbone = str(place / "gone.safetensors")
            found_at = (str(place / scenes),)
            write_origin(place / name, Origin(scenes=(scenes,), found_at=found_at, backbone="w", backbone_at=backbone))
    write_vectors(place / "found-none", {"0.png": "cannot decode"})
    shutil.copytree(place / "found", place / "found-damaged")
    (part,) = (place / "found-damaged/rows").iterdir()
    part.write_bytes(part.read_bytes()[:-40])


def _files() -> dict[str, str]:
    """Texts of files by their names."""
    annotation = {"id": 1, "image_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]], "area": 32, "iscrowd": 0}
    images = [{"id": 1, "file_name": "0.png", "width": 5, "height": 7}, {"id": 2, "file_name": "nobody.png"}]
    boxes = [{"id": 2, "image_id": 2, "bbox": [1, 1, 2, 2]}, {"id": 3, "image_id": 9}]
    return {
        "note.txt": "a note\n",
        "photos.tgz": "no tar\n",
        "notes/one.txt": "one\n",
        "notes/two.psd": "two\n",
        "notes/three.heic": "three\n",
        "a `bank` of `out`/note.txt": "a note\n",
        "strange.json": json.dumps({"strange": 1}),
        "elsewhere.json": json.dumps({"images": [{"id": 1, "file_name": "cam/zz.png"}], "annotations": []}),
        "odd.json": json.dumps({"images": images, "annotations": [annotation, *boxes]}),
        "studyless.py": "x = 1\n",
        "faulty.py": "from samclr.study import Study\nSTUDY = Study(nmae='x')\n",
        "damaged-study/study.json": "{",
    }


@pytest.mark.parametrize("name", sorted(file.stem for file in SAID.glob("*.txt")))
def test_said(name, place, call, capsys, monkeypatch):
    monkeypatch.setenv("SAMCLR_CACHE", str(place / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # and no model in the hub's cache
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("SAMCLR_DATA", raising=False)
    monkeypatch.chdir(place)
    file = SAID / f"{name}.txt"
    found = []
    for line in file.read_text().splitlines():
        if line.startswith(("$ ", ">>> ")):
            log._SAID.clear()
            sign, _, text = line.partition(" ")
            said = (_command if sign == "$" else _call)(text.replace("DIR", str(place)), call, capsys)
            found.append(f"{line}\n{_the_same_everywhere(said, place)}\n")
    if os.environ.get("SAMCLR_SNAPSHOT"):
        file.write_text("\n".join(found))
    assert "\n".join(found) == file.read_text()


def _command(text: str, call, capsys) -> str:
    status, _, said = call(*shlex.split(text)[1:])
    assert "Traceback" not in said
    assert said.count("samclr: error: ") <= 1
    assert "error: unexpected" not in said
    return f"status {status}\n{said}".rstrip()


def _call(text: str, call, capsys) -> str:
    """What Python says: remarks, and the error if there is one."""
    try:
        eval(text, NAMES)
        error = "no error"
    except (SamclrError, KeyError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    return f"{capsys.readouterr().err}{error}"


def _the_same_everywhere(text: str, place: Path) -> str:
    """Without what differs from run to run and from machine to machine."""
    text = text.replace(str(place), "DIR").replace(__version__, "VERSION")
    text = re.sub(r"(?<=[-/\"])[0-9a-f]{12,}\b", "HASH", text)
    text = re.sub(r"and \d+ more suffixes", "and N more suffixes", text)  # of the image formats that are installed
    text = re.sub(r"[\d.,]+ (GB|MB|images/s|views/s|s)\b", r"N \1", text)
    text = re.sub(r"waiting \d+%", "waiting N%", text)
    text = re.sub(r"(expected time +).* after packing, at .*/s", r"\1TIME after packing, at RATE", text)
    text = re.sub(r"loss [\d.]+", "loss N", text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_every_command_is_there():
    texts = "".join(file.read_text() for file in SAID.glob("*.txt"))
    for command in ("pack", "segment", "segmenters", "regions stats", "regions verify", "regions score"):
        assert f"$ samclr {command} " in texts
    for command in ("regions import", "regions export", "look", "pretrain", "evaluate", "export", "report", "demo"):
        assert f"$ samclr {command} " in texts
    for command in ("embed", "similar", "duplicates", "select", "explore"):
        assert f"$ samclr {command} " in texts
    for command in ("data list", "data check", "study run", "study status", "study page"):
        assert f"$ samclr {command} " in texts
    assert texts.count("\nstatus ") >= 80

"""The shape of what every command prints with --json, as a snapshot: changing a key or a type is a decision.

SAMCLR_SNAPSHOT=1 python -m pytest tests/api/test_json.py    writes it anew
"""

import json
import os
import re
from functools import partial
from pathlib import Path

import pytest
from support.scenes import write_labelled, write_labelled_scenes, write_scenes

import samclr.demo.demo
from samclr.cli.commands import Command
from samclr.cli.tree import Node
from samclr.log import show_json

SNAPSHOT = Path(__file__).with_name("json.txt")
PAGE = Path(__file__).parents[2] / "docs/reference/json.md"
OPEN = ("errors", "maker", "settings", "scores", "counts", "chosen", "model")  # objects whose keys are names
MASKS = {"images": [{"id": 0, "file_name": "a/000.png", "height": 48, "width": 64}], "annotations": []}
TRAINING = ("--backbone", "small-cnn", "--steps", 2, "--global-batch-size", 4, "--size-px", 16, "--device", "cpu")


def shape(value: object, place: str = "") -> dict[str, set[str]]:
    """The type at every place: `segmenters[].size_mb` is an int or null."""
    found: dict[str, set[str]] = {}
    if isinstance(value, dict | list):
        inner = [(f"{place}[]", one) for one in value] if isinstance(value, list) else []
        is_open = place.rpartition(".")[2] in OPEN
        if isinstance(value, dict):
            inner = [(f"{place}.{'NAME' if is_open else name}".lstrip("."), one) for name, one in value.items()]
        found[place or "."] = {type(value).__name__}
        for name, one in inner:
            for key, kinds in shape(one, name).items():
                found.setdefault(key, set()).update(kinds)
        return found
    return {place: {"null" if value is None else type(value).__name__}}


def json_commands(node: Node) -> list[str]:
    """The commands that take --json, one recipe for all."""
    if node.children:
        nodes = [node.children["simclr"]] if node.child_word == "recipe" else node.children.values()
        return [name for child in nodes for name in json_commands(child)]
    return [node.command] if any(option.name == "json" for option in node.options) else []


@pytest.fixture
def printed(tmp_path, call, monkeypatch):
    """The JSON of each command on small scenes."""
    monkeypatch.chdir(tmp_path)
    photos, maps = Path("photos"), Path("maps")
    write_scenes(photos, 12, maps)
    write_labelled(Path("labelled"))
    write_labelled_scenes(Path("fields"), 1)
    Path("masks.json").write_text(json.dumps(MASKS))
    small = partial(samclr.demo.demo.run_demo, steps=11, num_scenes=4)
    monkeypatch.setattr("samclr.demo.demo.run_demo", small)
    monkeypatch.setattr("samclr.study.job.make_data", lambda data, _: samclr.demo.demo.make_data(data, 4))
    commands = {
        "pack": (photos, "--bank", "bank", "--workers", 1),
        "segment": (photos, "--out", "store", "--workers", 1),
        "segmenters": (),
        "regions verify": ("store",),
        "regions stats": ("store",),
        "regions score": ("store", "--segmentations", maps),
        "regions import": ("masks.json", "--scenes", photos, "--out", "imported"),
        "data list": (),
        "data check": ("camvid", "--root", "fields"),
        "pretrain simclr": (photos, "--out", "run", "--bank", "bank", *TRAINING, "--workers", 1),
        "evaluate": ("run", "--on", "labelled", "--image-px", 16, "--probe-epochs", 1, "--device", "cpu"),
        "embed": (photos, "--backbone", "small-cnn", "--out", "vectors", "--device", "cpu", "--workers", 1),
        "similar": ("vectors", "--to", "a/000.png", "--device", "cpu"),
        "duplicates": ("vectors", "--check", "none", "--threshold", -1),
        "select": ("vectors", "--num", 1, "--out", "list.txt"),
        "demo": ("--out", "demo", "--recipes", "simclr"),
        "study list": (),
        "study run": ("smoke", "--out", "study", "--list"),
        "study status": ("study",),
    }
    found = {}
    for name, words in commands.items():
        status, out, said = call(*name.split(), *words, "--json")
        assert status == (name == "data check"), (name, said)
        found[f"samclr {name}"] = json.loads(out)
    trained = found["samclr pretrain simclr"]
    status, out, said = call("pretrain", "simclr", *commands["pretrain simclr"], "--dry-run", "--json")
    assert status == 0, said
    dry = json.loads(out)
    assert dry.keys() == trained.keys()
    assert trained["costs"] is None
    trained["costs"] = dry["costs"]
    return found


def test_every_command_prints_one_shape(printed):
    assert sorted(printed) == sorted(json_commands(Node(path=("samclr",), kind=Command)))
    lines = []
    for name, value in printed.items():
        lines.append(f"{name}:\n")
        lines += [f"    {place}: {' or '.join(sorted(kinds))}\n" for place, kinds in shape(value).items()]
    if os.environ.get("SAMCLR_SNAPSHOT"):
        SNAPSHOT.write_text("".join(lines))
    assert "".join(lines) == SNAPSHOT.read_text()


def test_every_key_is_on_its_page():
    page = PAGE.read_text()
    command = ""
    for line in SNAPSHOT.read_text().splitlines():
        if not line.startswith(" "):
            command = line.rstrip(":").replace("pretrain simclr", "pretrain")
            assert f"## {command}\n" in page, command
            section = page.partition(f"## {command}\n")[2].partition("\n## ")[0]
            continue
        keys = set(re.findall(r"[a-z_0-9]+", line.partition(":")[0]))
        assert not [key for key in keys if f"`{key}`" not in section and f'"{key}"' not in section], (command, line)


def test_what_is_no_number_is_null(capsys, tmp_path):
    show_json({"loss": float("nan"), "best": [float("inf"), 1.0], "path": tmp_path})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "best": [None, 1.0], "path": str(tmp_path)}

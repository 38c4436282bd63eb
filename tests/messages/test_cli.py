"""What the command line says: help, errors and exit statuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import samclr
from support.scenes import write_labelled

from samclr._version import __version__

COMMANDS = [
    *("pack", "segment", "segmenters", "look", "pretrain", "evaluate", "export", "report", "demo"),
    *("regions verify", "regions stats", "regions score", "regions import", "regions export"),
    *("data list", "data check", "study run", "study list", "study status", "study page"),
]


def test_help_is_instant():
    code = (
        "import sys\nfrom samclr.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "pretrain" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name, call):
    status, text, _ = call(*name.split(), "--help")
    assert status == 0
    assert f"Example: samclr {name}" in text


def test_a_recipe_names_its_paper_and_every_default(call):
    _, shown, _ = call("pretrain", "samclr", "--help")
    for text in ("2310.14736", "--temperature FLOAT", "(default: 0.07)", "--strategy {image,region,random-box}"):
        assert text in shown


def test_version():
    assert samclr("--version").stdout == f"samclr {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["fly"], 2, "'fly' is not a command of samclr; expected one of pack, segment, "),
        (["pack", "{p}/missing"], 1, "no such folder or file"),
        (["pack", "{p}/empty"], 1, "no image under"),
        (["segment", "{p}/scenes", "--out", "{p}/scenes/store"], 2, "is inside the scenes"),
        (["segment", "{p}/scenes", "--out", "{p}/s", "--segmenter", "labels"], 2, "add --labels DIR"),
        (["regions", "stats", "{p}"], 1, "is not a region store"),
        (["pretrain", "samclr", "--scenes", "{p}/scenes", "--out", "{p}/run"], 2, "samclr segment SCENES --out STORE"),
        (["pretrain", "simclr", "--out", "{p}/run"], 1, "no scenes were given"),
        (
            ["pretrain", "simclr", "--scenes", "{p}/scenes", "--out", "{p}/r", "--temperature", "0"],
            2,
            "temperature is 0",
        ),
        (
            ["pretrain", "simclr", "--scenes", "{p}/scenes", "--out", "{p}/r", "--backbone", "resnet19"],
            2,
            "has no backbone 'resnet19'; did you mean resnet",
        ),
        (
            ["pretrain", "simclr", "--scenes", "{p}/scenes", "--out", "{p}/r", "--device", "tpu"],
            2,
            "--device is 'tpu'; expected auto, cpu, cuda, cuda:NUMBER or mps",
        ),
        (
            ["evaluate", "{p}/none", "--on", "{p}/labelled"],
            1,
            "is not a run directory, a file of weights or a timm model",
        ),
        (["evaluate", "small-cnn", "--on", "{p}/none"], 1, "no labelled set at"),
        (["evaluate", "small-cnn", "--on", "{p}/scenes"], 1, "has no train split"),
        (["export", "{p}", "--out", "{p}/x.safetensors"], 1, "is not a run directory"),
        (["report", "{p}"], 1, "is not a run directory"),
        (["study", "smoke"], 2, "samclr study smoke is samclr study run smoke since 0.2"),
        (["study", "run", "papr", "--out", "{p}/s"], 2, "no study 'papr'; did you mean paper? Otherwise give"),
        (
            ["study", "status", "{p}"],
            1,
            "holds no study: it has no study.json; name what `samclr study run NAME --out`",
        ),
        (
            ["study", "run", "smoke", "--out", "{p}/s", "--parallel", "0"],
            2,
            "--parallel is 0; expected a whole number from 1 to 1024",
        ),
        (["study", "run", "smoke", "--out", "{p}/empty", "--index", "99"], 2, "--index 99 names no run; "),
        (["study", "run", "controls", "--out", "{p}/s"], 2, "has no scenes to train on: add --scenes SCENES=PATH"),
        (
            ["study", "run", "controls", "--out", "{p}/s", "--scenes", "a={p}/scenes"],
            2,
            "study controls has no set to measure on: add --on SET=PATH",
        ),
        (
            ["study", "run", "controls", "--out", "{p}/s", "--scenes", "{p}/scenes"],
            2,
            "is not NAME=PATH; give for example",
        ),
        (["study", "run", "controls", "--out", "{p}/s", "--scenes", "a={p}/none"], 1, "no such folder or file"),
        (
            ["study", "run", "padding", "--out", "{p}/s", "--on", "a=x", "a=y"],
            2,
            "--on names a twice; give it one path",
        ),
        (
            ["study", "run", "paper", "--out", "{p}/scenes"],
            2,
            "study paper has no scenes to train on: add --scenes cityscapes",
        ),
    ],
)
def test_errors_are_one_line_with_a_status(arguments, status, message, tmp_path, scenes, call):
    write_labelled(tmp_path / "labelled")
    (tmp_path / "empty").mkdir()
    found, _, text = call(*(argument.format(p=tmp_path) for argument in arguments))
    assert found == status, text
    assert message in text
    assert "Traceback" not in text
    assert text.startswith("samclr: error:")
    assert len(text.splitlines()) == (2 if arguments == ["fly"] else 1)  # the second says where commands are listed


def test_debug_shows_the_traceback(tmp_path, call):
    status, _, text = call("pack", tmp_path / "missing", "--debug")
    assert status == 1
    assert "Traceback" in text


def test_tables_come_as_json(scenes, tmp_path):
    samclr("segment", scenes, "--out", tmp_path / "store", "--workers", 1)
    stats = json.loads(samclr("regions", "stats", tmp_path / "store", "--json").stdout)
    assert stats["num_images"] == 12
    assert json.loads(samclr("regions", "verify", tmp_path / "store", "--json").stdout) == {"faults": []}


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # fails at once, as a missing network does after its time-outs
    write_labelled(tmp_path / "labelled")
    done = samclr("evaluate", "resnet18", "--on", tmp_path / "labelled")
    assert done.returncode == 2
    assert "evaluate: FILE --backbone resnet18" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_option_is_explained(call):
    for name in (*COMMANDS, "pretrain samclr", "pretrain from-config"):
        lines = call(*name.split(), "--help")[1].splitlines()
        for number, line in enumerate(lines):
            if line.startswith("  --"):
                text = line.strip()
                explained = text.partition("  ")[2] or lines[number + 1]
                assert re.match(r"\s*(?!\(default)\S", explained), f"{name}: {text} is not explained"


@pytest.mark.parametrize("place", [("pretrain", "simclr", "--scenes"), ("segment",), ("evaluate",)])
def test_a_folder_called_from_config_hides_no_mistyped_option(place, call):
    status, _, text = call(*place, "from-config", "--out", "x", "--mistyped", 3)
    assert status == 2
    assert "--mistyped" in text
    assert "unexpected" not in text


def test_from_config_takes_overrides_and_refuses_what_is_none(call, tmp_path):
    old = Path(__file__).parents[1] / "formats" / "0.1" / "run"
    status, _, text = call("pretrain", "from-config", old, "--out", tmp_path / "run", "--lrr", 3)
    assert status == 2
    assert "--lrr is not an option of samclr pretrain from-config; did you mean --lr?" in text
    status, _, text = call("pretrain", "from-config", old, "--out", tmp_path / "run", "--temperature", 0)
    assert status == 2
    assert "temperature is 0" in text

"""What the command line says, beside the whole texts of test_help.py and test_said.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import samclr

from samclr._version import __version__


def test_help_is_instant():
    code = (
        "import sys\nfrom samclr.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "pretrain" in done.stdout


def test_version():
    assert samclr("--version").stdout == f"samclr {__version__}\n"


def test_debug_shows_the_traceback(tmp_path, call):
    status, _, text = call("pack", tmp_path / "missing", "--debug")
    assert status == 1
    assert "Traceback" in text


def test_tables_come_as_json(scenes, tmp_path, call):
    call("segment", scenes, "--out", tmp_path / "store", "--workers", 1)
    assert json.loads(call("regions", "stats", tmp_path / "store", "--json")[1])["num_images"] == 12
    assert json.loads(call("regions", "verify", tmp_path / "store", "--json")[1]) == {"faults": []}


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


def test_options_of_0_1_are_taken_and_said(scenes, tmp_path, call):
    old = ("--accelerator", "gpu", "--num_workers=1", "--devices", 1, "--precision", "bf16-mixed")
    words = ("pretrain", "simclr", "--scenes", scenes, "--out", tmp_path / "run", "--lr", 0)
    status, _, said = call(*words, *old)
    assert status == 2
    assert said.splitlines() == [
        "renamed in 0.2: --accelerator is --device, gpu is cuda, --num_workers=1 is --workers=1, --devices is "
        "--num-devices, bf16-mixed is bfloat16; the old words work until 0.3",
        "samclr: error: --lr is 0.0; expected a number over 0, at most 1000000",
    ]
    assert "renamed" not in call(*words, "--device", "cpu")[2]
    assert "--num-workers is --workers since 0.2" in call("pack", scenes, "--num-workers", 1)[2]

"""Every example runs, on scenes that are generated once."""

import runpy
import sys
from pathlib import Path

import pytest

from samclr.config.registry import METHODS

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZES = {"masks": "6", "knn_probe": "60"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "generated")
SLOW = {"hf_trainer", "lightning_module", "lightly_dino", "lightly_simclr", "plugin"}  # plain_simclr stays


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]
)
def test_example(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(METHODS, "_specs", dict(METHODS._specs))
    monkeypatch.setattr(sys, "argv", [name, SIZES.get(name, "2")])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_the_plain_loop_is_short():
    lines = (EXAMPLES / "plain_simclr.py").read_text().split('"""', 2)[2].strip().splitlines()
    assert len([line for line in lines if line.strip()]) <= 30

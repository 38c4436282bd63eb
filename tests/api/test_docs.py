"""Every command and Python block of README, the quick start and two guides runs, top to bottom, as a reader would.

The blocks run in one folder for each page, in which `photos/` and `labelled/` are generated. What would take long is
made small by the tables below and by nothing else, and each entry of a table must be of use.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.scenes import box_scene, write_labelled

from samclr.cli.commands import Command
from samclr.cli.parse import check
from samclr.cli.tree import Node

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/quick-start.md", "docs/guides/own-folder.md", "docs/guides/own-loop.md")
LONG = ("docs/guides/own-folder.md",)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)

# Commands that are not run, and why.
NOT_RUN = {
    "pip install .": "an environment of its own; CI installs the wheel (make wheel)",
    "samclr demo": "as make demo",
    "make demo": "the demo takes minutes; tests/e2e/test_demo_and_report.py runs it smaller",
    "make test": "the tests themselves",
}
# What stands in a block, and what is run in its place.
SMALLER = {
    "--segmenter sam-hq-vit-h": "--segmenter felzenszwalb",  # its weights are not to be had here
    "--image-px 128": "--image-px 32",
    "batch_size=256, steps=10_000": "batch_size=4, steps=2, size_px=32",
    "batch_size=64, steps=100": "batch_size=4, steps=2, size_px=32",
}
# Options that are added to a command.
ADDED = {
    "segment": "--workers 1",
    "pretrain": "--global-batch-size 4 --steps 2 --size-px 32 --num-threads 1",
    "evaluate": "--probe-epochs 2",
}
# Names that a block of a page takes from its reader.
GIVEN = {"docs/guides/own-folder.md": {"pixels": torch.rand(2, 3, 32, 32)}}


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return BLOCK.findall((ROOT / page).read_text())


def commands(text: str) -> list[list[str]]:
    """The words of each command of a block, comments left out, `.venv/bin/` taken off."""
    lines = text.replace("\\\n", " ").splitlines()
    split = [shlex.split(line.removeprefix(".venv/bin/"), comments=True) for line in lines]
    return [words for words in split if words]


def made_smaller(text: str) -> str:
    for standing, run in SMALLER.items():
        text = text.replace(standing, run)
    return text


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a reader types: six scenes of boxes of 56 px, and a labelled set of two classes."""
    (tmp_path / "photos").mkdir()
    for number in range(6):
        pixels = box_scene(number)[0].repeat(4, 0).repeat(4, 1)
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"photos/{number}.png")
    write_labelled(tmp_path / "labelled", per_class=3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [pytest.param(one, marks=[pytest.mark.slow] * (one in LONG)) for one in PAGES])
def test_every_block_runs(page, reader, call):
    names = dict(GIVEN.get(page, {}))
    for language, text in blocks(page):
        text = made_smaller(text)
        if language == "python":
            exec(compile(text, page, "exec"), names)
            continue
        assert language == "sh", f"{page} has a block that is neither sh nor python: {text}"
        for words in commands(text):
            if shlex.join(words) not in NOT_RUN:
                assert words[0] == "samclr", words
                status, _, errors = call(*words[1:], *shlex.split(ADDED.get(words[1], "")))
                assert status == 0, f"{page}: {shlex.join(words)}: {errors}"


def test_every_entry_of_the_tables_is_of_use():
    text = "\n".join(block for page in PAGES for _, block in blocks(page))
    typed = [
        shlex.join(words)
        for page in PAGES
        for language, block in blocks(page)
        if language == "sh"
        for words in commands(block)
    ]
    assert set(NOT_RUN) <= set(typed)
    assert all(standing in text for standing in SMALLER)
    assert set(ADDED) <= {words.split()[1] for words in typed}


def test_readme_is_short_and_wrapped():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 100
    assert max(map(len, lines)) <= 100


def test_every_command_on_every_page_is_one():
    """Also on the pages whose commands are not run here."""
    root, found = Node(path=("samclr",), kind=Command), 0
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for language, text in BLOCK.findall(page.read_text()):
            lines = commands(text) if language == "sh" else []
            for words in [words for words in lines if words[0] == "samclr"]:
                check(root, words[1:])
                found += 1
    assert found > 30

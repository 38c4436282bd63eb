"""What --help prints, and that it knows the options that tyro parses."""

import contextlib
import io
import re

import pytest
import tyro

from samclr.cli.commands import Command
from samclr.cli.help import MATTER, help_text
from samclr.cli.parse import STYLE
from samclr.cli.tree import Node, follow

ROOT = Node(path=("samclr",), kind=Command)


def shown(words: str) -> str:
    return help_text(follow(ROOT, words.split()))


@pytest.mark.parametrize("words", ["segment", "evaluate", "pretrain samdino", "study run", "regions score"])
def test_the_options_are_those_that_tyro_parses(words):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        tyro.cli(Command, prog="samclr", args=[*words.split(), "--help"], config=STYLE)
    lines = re.findall(r"^\W{0,3}(--[a-z].*)", said.getvalue(), re.MULTILINE)
    parsed = {word for line in lines for word in re.match(r"(--[\w-]+(?:, --[\w-]+)*)", line)[1].split(", ")}
    node = follow(ROOT, words.split())
    assert parsed == {word for option in node.options if not option.is_positional for word in option.words}


def test_what_is_required_comes_first(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = shown("pretrain samclr")
    assert text.startswith(
        "Usage: samclr pretrain samclr [PATH...] --out PATH --scenes PATH... --regions PATH [OPTIONS]"
    )
    required = text.partition("\nRequired:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  (\S+)", required, re.MULTILINE) == ["--out", "--scenes", "--regions"]
    assert "--regions" not in shown("pretrain simclr").partition("\nRequired:\n")[2].partition("\n\n")[0]


def test_pretrain_names_the_ten_options_that_matter():
    text = shown("pretrain")
    ten = text.partition("The ten training options that matter: ")[2].partition("\n\n")[0]
    assert "samclr pretrain RECIPE --help lists all" in " ".join(ten.split())
    assert re.findall(r"^  --([a-z-]+)", ten, re.MULTILINE) == [name.replace("_", "-") for name in MATTER]
    assert len(text.splitlines()) < 90  # a line a recipe


def test_headings_are_words():
    text = shown("evaluate")
    headings = re.findall(r"\n\n(\S[^:\n]*):", text)
    for heading in ("Required", "Images of labelled sets", "kNN", "Linear probe", "Crop probe", "Fine-tuning"):
        assert heading in headings
    assert not [heading for heading in headings if re.search(r"[._]|options$", heading)]


def test_no_flag_reads_backwards():
    assert "--decay-norm-and-bias, --no-decay-norm-and-bias" in shown("pretrain simclr")
    lines = "\n".join(shown(words) for words in ("evaluate", "segment", "pretrain moco", "pretrain dino"))
    assert not re.search(r"^  --no-", lines, re.MULTILINE)


def test_width_and_names_of_options(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    text = shown("evaluate")
    assert max(map(len, text.splitlines())) <= 100
    assert "--crop-epochs passes" in " ".join(text.split())


def test_evaluation_data_governs_all_protocols():
    about = shown("evaluate").partition("\nImages of labelled sets: ")[2].partition("\n  --")[0]
    assert "every protocol" in " ".join(about.split())

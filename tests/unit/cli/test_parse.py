"""Mistyped commands, recipes, options and values: the nearest name comes first, in two lines."""

import re

import pytest

from samclr.cli.commands import Command, RecipeOptions
from samclr.cli.parse import MistypedError, check
from samclr.cli.tree import Node, follow
from samclr.config.pretrain import PretrainConfig
from samclr.errors import UsageError, did_you_mean

ROOT = Node(path=("samclr",), kind=Command)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (
            "segmnt photos",
            "'segmnt' is not a command of samclr; did you mean segment",
            "samclr --help lists its commands",
        ),
        ("verify s", "'verify' is not a command of samclr; did you mean samclr regions verify?", "samclr --help"),
        ("regions stat s", "'stat' is not a command of samclr regions; did you mean stats?", "samclr regions --help"),
        ("regions", "samclr regions needs a command: verify, stats, score, import or export", "samclr regions --help"),
        ("pretrain samcl --out r", "'samcl' is not a recipe of samclr pretrain; did you mean samclr", "its recipes"),
        ("pretrain --out r", "samclr pretrain needs a recipe, such as samclr", "samclr pretrain --help"),
        ("pretrain photos/ --out r", "name one before the scenes: samclr pretrain samclr photos/", "its recipes"),
        ("pretrain --lr 3 simclr", "--lr stands after the recipe: samclr pretrain RECIPE --lr", "samclr pretrain"),
        (
            "pretrain simclr p",
            "samclr pretrain simclr needs --out PATH: Run directory",
            "samclr pretrain simclr --help",
        ),
        (
            "pretrain simclr p --out r --lrr=3",
            "an option of samclr pretrain simclr; did you mean --lr",
            "",
        ),
        ("pretrain dino p --out r --steps abc", "--steps is 'abc'; expected a whole number", ""),
        ("pretrain dino p --out r --crop-scale 1", "--crop-scale is followed by 1; expected FLOAT FLOAT", ""),
        ("pretrain dino p --out r --compile=yes", "--compile is followed by yes; expected no value", ""),
        ("pretrain dino p --out r --accelerator cpu", "--accelerator is --device since 0.2", ""),
        ("pretrain dino p --out r --num-workers 2", "--num-workers is --workers since 0.2", ""),
        ("export r --out x --layout hugingface", "--layout is 'hugingface'; did you mean huggingface?", ""),
        ("demo --recipes simclr samclrr", "--recipes is 'samclrr'; did you mean samclr or simclr?", ""),
        ("data check cityscape", "NAME is 'cityscape'; did you mean cityscapes?", "samclr data check --help"),
        ("evaluate", "samclr evaluate needs TARGET: What to measure", "samclr evaluate --help lists its options"),
        ("study rnu smoke", "'rnu' is not a command of samclr study; did you mean run?", "samclr study --help"),
        ("export a b --out x", "'b' is not expected here: only RUN stands alone", ""),
        ("segment p -o s", "-o is not an option of samclr segment", ""),
    ],
)
def test_a_mistyped_word_is_answered_by_the_nearest(words, message, hint):
    with pytest.raises(MistypedError) as caught:
        check(ROOT, words.split())
    assert message in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("pretrain samclr photos/ --out r", "samclr pretrain samclr"),
        ("pretrain --out r samclr --scenes a b --lr=3e-4 --no-projector-norm", "samclr pretrain samclr"),
        ("pretrain from-config old --out r --lr 3", "samclr pretrain from-config"),
        ("evaluate --on a b target", "samclr evaluate"),
        ("evaluate target --on a b --probe_lr .1", "samclr evaluate"),
        ("segment p --out s --device None", "samclr segment"),
    ],
)
def test_what_is_right_passes(words, path):
    assert check(ROOT, words.split()).command == path


def test_it_is_two_lines(call, tmp_path):
    status, out, text = call("pretrain", "samclr", tmp_path, "--out", "r", "--scens", "x")
    assert (status, out) == (2, "")
    assert text.splitlines() == [
        "samclr: error: --scens is not an option of samclr pretrain samclr; did you mean --scenes or --steps?",
        "samclr pretrain samclr --help lists its options",
    ]


@pytest.mark.parametrize("words", ["--dense-on --on x", "--on x --overcluster", "--on x --few-shot --seed 1"])
def test_an_option_of_several_values_wants_one(call, words):
    status, out, text = call("evaluate", "small-cnn", *words.split())
    option = next(word for word in ("--dense-on", "--overcluster", "--few-shot") if word in words)
    assert (status, out) == (2, "")
    assert text == f"samclr: error: {option} has no value; name at least one, or leave it out\n"


def test_what_tyro_alone_refuses_is_two_lines_too(call, monkeypatch):
    monkeypatch.setattr("samclr.cli.parse.check", lambda node, given: follow(node, given))
    status, _, text = call("pretrain", "simclr", "--steps", "abc", "--out", "r")
    assert status == 2
    assert len(text.splitlines()) == 2
    assert "--steps" in text
    assert not re.search("[╭│╰─]", text)


def test_scenes_of_pretrain_may_stand_alone(tmp_path):
    positional = RecipeOptions(folders=(tmp_path,)).config()
    assert positional.data.scenes == (tmp_path,)
    assert type(positional) is PretrainConfig
    with pytest.raises(UsageError, match="scenes are given twice"):
        RecipeOptions(folders=(tmp_path,), data=positional.data).config()


def test_did_you_mean():
    assert did_you_mean("stat", ["stats", "verify"]) == "; did you mean stats?"
    assert did_you_mean("x", ["stats", "verify"]) == "; expected one of stats, verify"
    assert did_you_mean("x", ["stats", "verify"], most=1) == ""
    assert did_you_mean("--lrr", ["--lr", "--log"]) == "; did you mean --lr?"
    assert did_you_mean("stat", ["stats"], otherwise="give a path") == "; did you mean stats? Otherwise give a path"
    assert did_you_mean("x", ["stats"], otherwise="give a path") == "; give a path"

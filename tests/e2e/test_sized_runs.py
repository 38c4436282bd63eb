"""A run without a stated budget is sized to its folder; a finished run is extended, exactly."""

import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.command import samclr
from support.runs import small_config

import samclr as package
from samclr.cli.main import _parsed
from samclr.config.pretrain import Extension
from samclr.config.recipes import RECIPES
from samclr.errors import RunError
from samclr.models.resolve import resolve_config
from samclr.runs.checkpoint import load_checkpoint
from samclr.runs.directory import open_run, read_metrics
from samclr.runs.extension import stages
from samclr.runs.saved import checkpoints, load_config
from samclr.training import start
from samclr.training.optim import learning_rate
from samclr.training.pace import Pace
from samclr.training.pretrain import pretrain

TINY = ("--backbone", "small-cnn", "--projector-out", 16, "--size-px", 16, "--device", "cpu", "--num-threads", 1)


@pytest.fixture
def paced(monkeypatch):
    """Ten to twenty minutes a step, so an hour has four of them. The list grows with each measurement."""
    measured = []
    monkeypatch.setattr("samclr.config.sizing.FEWEST_STEPS", 3)
    pace = Pace(least_s=600.0, most_s=1200.0)
    monkeypatch.setattr(start, "measure_pace", lambda fabric, config: measured.append(config) or pace)
    return measured


def length(run):
    return load_config(run).optim.steps


def test_a_folder_of_one_s_own_is_sized_once(scenes, tmp_path, call, paced):
    words = ("pretrain", "simclr", "--scenes", scenes, "--out", tmp_path / "run", *TINY)
    status, _, said = call(*words)
    assert status == 0, said
    config = load_config(tmp_path / "run")
    assert (config.optim.steps, config.optim.global_batch_size, config.auto) == (4, 8, ())
    assert (config.runtime.precision, config.runtime.workers) == ("float32", os.cpu_count())
    assert "images           12\nsteps            4 of 8 images, 16 views; 3 epochs\n" in said
    assert "expected time    40 min 0 s to 1 h 20 min after packing" in said
    assert "fitted to folder and device; --budget paper takes the recipe's numbers" in said
    before = (tmp_path / "run/config.json").read_text()
    status, _, said = call(*words)
    assert status == 0, said
    assert "4 of 4 steps" in said
    assert len(paced) == 1
    assert (tmp_path / "run/config.json").read_text() == before
    python = replace(small_config(scenes, recipe="simclr"), auto=("steps",))
    assert package.pretrain(python, tmp_path / "python").config.optim.steps == 4
    assert call("pretrain", "from-config", tmp_path / "run", "--out", tmp_path / "again")[0] == 0
    assert_equal(tmp_path / "again", tmp_path / "run")


@pytest.mark.parametrize("more", [("--budget", "paper"), ("from-config",)])
def test_stated_numbers_are_kept(scenes, tmp_path, call, monkeypatch, more):
    taken = []
    monkeypatch.setattr("samclr.training.pretrain.pretrain", lambda config, *_, **__: taken.append(config) or 1 / 0)
    if more == ("from-config",):
        (tmp_path / "old").mkdir()
        saved = {"samclr": "0.2", "config": {"data": {"scenes": [str(scenes)]}, "views": {"strategy": "image"}}}
        (tmp_path / "old/config.json").write_text(json.dumps(saved))
        call("pretrain", "from-config", tmp_path / "old", "--out", tmp_path / "run")
    else:
        call("pretrain", "simclr", "--scenes", scenes, "--out", tmp_path / "run", *more)
    (config,) = taken
    assert (config.auto, config.optim, config.runtime) == ((), RECIPES["simclr"].config.optim, config.runtime)
    assert config.runtime.workers is None


def test_every_command_of_the_guide_is_one():
    page = (Path(__file__).parents[2] / "docs/guides/which-recipe.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.S)
    lines = [shlex.split(block.replace("\\\n", " "), comments=True) for block in blocks]
    assert len(lines) > 8
    for words in lines:
        command = _parsed(words[1:])
        assert words[:2] == ["samclr", "segment"] or command.config().data.scenes == (Path("photos").absolute(),)
    compile(*re.findall(r"```python\n(.*?)```", page, re.S), "guide", "exec")


def test_the_recipe_s_own_data_set_keeps_its_numbers(tmp_path):
    (tmp_path / "city/leftImg8bit").mkdir(parents=True)
    for scenes, is_open in ((f"cityscapes@{tmp_path}/city", False), (f"cityscapes:val@{tmp_path}/city", True)):
        config = _parsed(["pretrain", "simclr", "--scenes", scenes, "--out", "run"]).config()
        assert bool(config.auto) == is_open


def test_a_batch_larger_than_the_set_is_said(scenes, tmp_path, caplog):
    config = small_config(scenes, recipe="simclr", steps=1)
    pretrain(replace(config, optim=replace(config.optim, global_batch_size=16)), tmp_path / "run")
    assert "a batch of 16 of 12 images shows every image more than once" in caplog.text


def weights(run):
    return load_checkpoint(run)["method"]


def assert_equal(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [row["loss"] for row in read_metrics(one)] == [row["loss"] for row in read_metrics(other)]


def longer(config, steps, schedule="tail"):
    return replace(config, optim=replace(config.optim, steps=steps, extend_schedule=schedule))


@pytest.mark.parametrize(("recipe", "schedule"), [("simclr", "tail"), ("dino", "constant")])
def test_an_extension_is_exact_however_it_is_interrupted(scenes, tmp_path, recipe, schedule):
    config = small_config(scenes, recipe=recipe, steps=3)
    config = replace(config, runtime=replace(config.runtime, checkpoint_every_s=0, micro_batch_size=3))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for run in (whole, parts):
        pretrain(config, run)
        base = read_metrics(run)
        pretrain(longer(config, 6, schedule), run)
    assert read_metrics(parts)[:3] == base
    checkpoints(parts)[0].unlink()  # as a kill in step 6 leaves it
    assert package.open_run(parts).step == 5
    pretrain(longer(config, 6, schedule), parts)
    assert_equal(whole, parts)
    pretrain(longer(config, 8), parts)  # extended twice
    pretrain(longer(config, 8), whole)
    assert_equal(whole, parts)
    done = load_config(parts)
    assert done.extensions == (Extension(after_steps=3, schedule=schedule), Extension(after_steps=6))
    assert (done.optim.steps, done.optim.extend_schedule) == (8, "tail")
    rates = [row["lr"] for row in read_metrics(parts)]
    optim = config.optim
    second = [3, 3, 3] if schedule == "constant" else [3, 4, 5]
    expected = [learning_rate(step, 3, optim) for step in range(3)]
    expected += [learning_rate(step, 6, optim) for step in second] + [learning_rate(step, 8, optim) for step in (6, 7)]
    assert rates == pytest.approx(expected)
    pretrain(done, tmp_path / "again")  # the config alone makes all stages
    assert_equal(tmp_path / "again", parts)


def test_a_damaged_end_goes_back_to_the_stage_before(scenes, tmp_path):
    config = small_config(scenes, recipe="simclr", steps=3)
    config = replace(config, runtime=replace(config.runtime, checkpoint_every_s=0))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for run in (whole, parts):
        pretrain(config, run)
    pretrain(longer(config, 5), whole)
    begun = open_run(parts, resolve_config(longer(config, 5)))  # as a kill before the first new checkpoint leaves it
    assert [stage.optim.steps for stage in stages(begun)] == [3, 5]
    checkpoints(parts)[0].write_bytes(b"damaged")
    pretrain(longer(config, 5), parts)
    assert_equal(whole, parts)


def test_what_cannot_be_extended_is_one_sentence(scenes, tmp_path):
    run, config = tmp_path / "run", small_config(scenes, recipe="simclr", steps=3)
    config = replace(config, runtime=replace(config.runtime, checkpoint_every_s=0))
    pretrain(config, run)
    with pytest.raises(RunError, match=r"is a run of 3 steps, 3 of them done, and cannot be shortened to 2; give more"):
        pretrain(longer(config, 2), run)
    with pytest.raises(RunError, match=r"other settings: optim.lr was 0.05, now 0.1"):
        pretrain(replace(config, optim=replace(config.optim, steps=6, lr=0.1)), run)
    pretrain(longer(config, 6), run)
    checkpoints(run)[0].unlink()
    with pytest.raises(RunError, match=r"has done 5 of its 6 steps, and only a finished run is extended; finish it"):
        pretrain(longer(config, 9), run)
    with pytest.raises(RunError, match=r"was extended with .* tail, now constant; give the one"):
        pretrain(longer(config, 6, "constant"), run)


def test_epochs_are_extended_and_the_report_says_so(scenes, tmp_path, call):
    words = ("pretrain", "simclr", "--scenes", scenes, "--out", tmp_path / "run", *TINY)
    assert call(*words, "--epochs", 2, "--global-batch-size", 4)[0] == 0
    status, _, said = call(*words, "--epochs", 3)  # the batch is not stated: it is the run's
    assert status == 0, said
    assert load_config(tmp_path / "run").extensions == (Extension(after_steps=6),)
    assert "9 of 9 steps" in said
    assert [row["step"] for row in package.open_run(tmp_path / "run").metrics()] == list(range(9))
    assert call("report", tmp_path / "run")[0] == 0
    assert "9 of 9 steps, extended after 6 (tail)" in (tmp_path / "run/report.html").read_text()
    assert call(*words)[0] == 0  # as the run is, with nothing stated
    assert package.open_run(tmp_path / "run").config.optim.epochs == 3


@pytest.mark.slow
def test_two_ranks_extend_a_run_exactly(scenes, tmp_path, call):
    words = ("pretrain", "simclr", "--scenes", scenes, "--out", tmp_path / "run", *TINY, "--no-projector-norm")
    assert call(*words, "--steps", 2)[0] == 0
    words += ("--num-devices", 2, "--checkpoint-every-s", 0, "--steps", 22)
    done = samclr(*words)
    assert done.returncode == 0, done.stderr
    whole, config = weights(tmp_path / "run"), load_config(tmp_path / "run")
    assert (config.optim.global_batch_size, config.extensions) == (8, (Extension(after_steps=2),))
    checkpoints(tmp_path / "run")[0].unlink()
    assert package.open_run(tmp_path / "run").step == 20
    assert samclr(*words).returncode == 0
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(tmp_path / "run").items())

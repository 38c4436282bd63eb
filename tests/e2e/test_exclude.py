"""`pretrain --exclude LIST`: what is left out, and that resuming is exact."""

from dataclasses import replace

import pytest
from support.runs import small_config

from samclr.datasets.scene_lists import write_list
from samclr.datasets.sources import list_scenes
from samclr.errors import RunError
from samclr.runs.directory import read_metrics
from samclr.runs.saved import load_config
from samclr.training.pretrain import pretrain


def test_a_run_leaves_out_what_the_list_names_and_resumes_with_that_list_alone(scenes, tmp_path):
    ids = [ref.image_id for ref in list_scenes([scenes])]
    file = tmp_path / "out.txt"
    write_list(file, ids[:3], [scenes], "made by a test")
    config = small_config(scenes, recipe="simclr", steps=2)
    config = replace(config, data=replace(config.data, exclude=file))
    assert pretrain(config, tmp_path / "run").data_counts["images"] == len(ids) - 3
    assert load_config(tmp_path / "run").data.exclude == file

    for path in sorted(scenes.rglob("*")):  # the same as training on a folder that never had them
        if path.is_file() and path.relative_to(scenes).as_posix() in ids[:3]:
            path.rename(tmp_path / path.name)
    without = replace(config, data=replace(config.data, exclude=None, bank=tmp_path / "other-bank"))
    pretrain(without, tmp_path / "without")
    losses = [[row["loss"] for row in read_metrics(tmp_path / name)] for name in ("run", "without")]
    assert losses[0] == losses[1]


def test_another_list_is_refused_when_a_run_is_resumed(scenes, tmp_path):
    ids = [ref.image_id for ref in list_scenes([scenes])]
    file = tmp_path / "out.txt"
    write_list(file, ids[:3], [scenes], "made by a test")
    config = small_config(scenes, recipe="simclr", steps=2)
    config = replace(config, data=replace(config.data, exclude=file))
    pretrain(config, tmp_path / "run")
    more = replace(config, optim=replace(config.optim, steps=3))
    write_list(file, ids[:4], [scenes], "made by a test")
    with pytest.raises(RunError, match="was started on other images"):
        pretrain(more, tmp_path / "run")
    write_list(file, ids[:3], [scenes], "made by a test")
    assert pretrain(more, tmp_path / "run").steps_done == 3


def test_the_command_names_a_list_that_is_not_there(here, scenes, tmp_path):
    run = here("pretrain", "simclr", "--scenes", scenes, "--exclude", tmp_path / "none.txt", "--out", tmp_path / "run")
    assert run.returncode == 1
    assert f"the list {tmp_path / 'none.txt'} cannot be read" in run.stderr

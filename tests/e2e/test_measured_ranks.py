"""Measuring before and after with two ranks: one measures and the other waits, whatever becomes of either."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from support.runs import small_config
from support.scenes import write_labelled, write_labelled_scenes

import samclr
from samclr.config import MeasuringConfig
from samclr.errors import ConfigError
from samclr.evaluation.before_after import measured_parts
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.log import remarks_on_stderr
from samclr.runs.before_after import read_before_after
from samclr.training.devices import create_fabric
from samclr.training.pretrain import PretrainResult

SCRIPT = Path(__file__).parents[1] / "support/measured_ranks.py"


def launched(folder: Path, launches: list[tuple]) -> dict[str, str]:
    """The last words of all ranks of all launches by NAME-RANK."""
    (folder / "launches.pickle").write_bytes(pickle.dumps(launches))
    path = os.pathsep.join(filter(None, (str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, SCRIPT, folder / "launches.pickle"],
        capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {file.stem: file.read_text() for file in folder.glob("*-[01].txt")}


@pytest.mark.slow
def test_one_rank_measures_and_a_kill_or_a_refusal_of_either_ends_both(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("samclr.evaluation.before_after.DenseConfig", partial(DenseConfig, dense_steps=20))
    config = small_config(scenes, recipe="simclr", steps=4)
    dense, labelled = write_labelled_scenes(tmp_path / "dense", 3), write_labelled(tmp_path / "labelled")
    few = write_labelled(tmp_path / "few", 2)
    config = replace(
        config,
        data=replace(config.data, held_out=0.25),
        runtime=replace(config.runtime, knn_on=labelled, checkpoint_every_s=0, num_devices=2),
        measuring=MeasuringConfig(dense_on=dense, dense_px=48, measure_every=2),
    )
    refused = replace(config, runtime=replace(config.runtime, knn_on=few))
    run = tmp_path / "run"
    words = launched(
        tmp_path,
        [
            ("first", config, run, (0, 2, "validation")),
            ("second", config, run, (1, 4, "test")),
            ("last", config, run, None),
            ("refused", refused, tmp_path / "refused", None),
        ],
    )
    assert words.pop("last-0") == words.pop("last-1") == "done"
    too_few = "EvaluationError: few has 4 training images; expected 5 or more, as a fifth is held out to choose the"
    assert words.pop("refused-0").startswith(too_few)
    assert words.pop("refused-1").startswith(too_few.replace("EvaluationError", "RunError"))
    assert words.keys() == {"first-1", "second-0"}  # who was killed said nothing
    for said in words.values():
        assert said.startswith("RunError: another of the 2 ranks has ended, or cannot be reached"), said
        assert "Rerun the same command to resume" in said

    found = read_before_after(run)
    assert {row.step for row in found.rows if row.part == "validation"} == {0, 2, 4}
    assert [line.title for line in found.table][:3] == ["kNN", "mIoU, linear", "mIoU, nearest patches"]
    assert [line.on for line in found.table][3:] == ["scenes held out"] * 4
    for which, step in (("start", 0), ("student", 4)):  # as one process measures these weights
        for part in measured_parts(config):
            rows = part.measure(samclr.load_backbone(run, which), step, torch.device("cpu"))
            assert rows == [row for row in found.rows if (row.step, row.part, row.on) == (step, part.part, part.on)]


def test_the_first_rank_alone_tells(scenes, tmp_path, here, monkeypatch):
    said = ("pretrain", "simclr", "--scenes", scenes, "--out", tmp_path / "run", "--json")
    result = PretrainResult(
        run=tmp_path / "run", steps_done=4, num_steps=4, stopped=False, data_counts={"images": 12}, speaks=False
    )
    monkeypatch.setattr("samclr.training.pretrain.pretrain", lambda config, run, announce: result)
    done = here(*said)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    result = replace(result, speaks=True)
    assert '"steps_done": 4' in here(*said).stdout


def test_torchruns_ranks_are_as_many_as_the_settings_say(scenes, monkeypatch):
    ranks = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3"}
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    expected = (
        "num_devices is 1 and num_nodes 1, but torchrun started 6 ranks, 3 of them here; give `num_devices` 3 and"
    )
    with remarks_on_stderr(with_options=False), pytest.raises(ConfigError, match=expected):
        create_fabric(small_config(scenes))


def test_machines_that_nothing_started_are_not_waited_for(scenes, monkeypatch):
    monkeypatch.setattr(Fabric, "launch", lambda fabric: None)
    config = small_config(scenes)
    config = replace(config, runtime=replace(config.runtime, num_nodes=2))
    with pytest.raises(ConfigError, match="num_nodes is 2, but nothing started the other machines; run the command"):
        create_fabric(config)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    create_fabric(config)

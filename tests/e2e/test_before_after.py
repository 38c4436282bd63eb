"""Measuring a run before and after: what is measured when, which step is kept, and that a kill changes nothing."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from support.runs import small_config
from support.scenes import write_labelled, write_labelled_scenes

import samclr
from samclr.config import MeasuringConfig
from samclr.errors import RunError, UsageError
from samclr.evaluation.before_after import Measured
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.runs.before_after import read_before_after
from samclr.runs.checkpoint import load_checkpoint
from samclr.storage.files import read_json
from samclr.training.micro_batches import backward
from samclr.training.pretrain import pretrain


@pytest.fixture
def config(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("samclr.evaluation.before_after.DenseConfig", partial(DenseConfig, dense_steps=20))
    config = small_config(scenes, recipe="simclr", steps=4)
    dense = write_labelled_scenes(tmp_path / "dense", 3)
    return replace(
        config,
        runtime=replace(config.runtime, knn_on=write_labelled(tmp_path / "labelled"), checkpoint_every_s=0),
        measuring=MeasuringConfig(dense_on=dense, dense_px=48, measure_every=2),
    )


def test_start_steps_and_end_are_measured_and_the_best_step_is_kept(config, scenes, tmp_path, here, monkeypatch):
    values = iter([0.2, 0.6, 0.4])  # of the validation part: the second is the best
    measure = Measured.measure

    def told(self, backbone, step, device):
        rows = measure(self, backbone, step, device)
        if self.part == "validation" and self.dense is not None:
            rows[0] = replace(rows[0], value=next(values))
        return rows

    monkeypatch.setattr(Measured, "measure", told)
    run = pretrain(config, tmp_path / "run").run
    found = read_before_after(run)
    assert {row.step for row in found.rows if row.part == "validation"} == {0, 2, 4}
    assert {row.step for row in found.rows if row.part == "test"} == {0, 2, 4}  # start, best and end
    assert (found.best_step, found.end_step) == (2, 4)
    assert found.chosen_by == "mIoU, linear on dense, its split val (3 images)"
    assert [line.title for line in found.table] == ["kNN", "mIoU, linear", "mIoU, nearest patches"]
    best, end, start = (samclr.load_backbone(run, which).state_dict() for which in ("best", "student", "start"))
    monkeypatch.setattr(Measured, "measure", measure)

    plain = replace(config, measuring=MeasuringConfig(), runtime=replace(config.runtime, knn_on=None))
    short = samclr.pretrain(plain, tmp_path / "plain")  # looking changes nothing
    assert all(torch.equal(tensor, end[name]) for name, tensor in short.backbone().state_dict().items())
    first = next(iter(best))
    assert not torch.equal(best[first], end[first])
    assert not torch.equal(best[first], start[first])
    with pytest.raises(RunError, match=r"plain has no best step: it was measured on no set while it trained"):
        samclr.load_backbone(tmp_path / "plain", "best")

    done = here("export", run, "--out", tmp_path / "best.safetensors", "--which", "best")
    assert done.returncode == 0, done.stderr
    exported = samclr.load_backbone(tmp_path / "best.safetensors").state_dict()
    assert all(torch.equal(tensor, exported[name]) for name, tensor in best.items())
    card = (tmp_path / "best.safetensors.md").read_text()
    assert "- weights: the student's after step 2, the best by mIoU, linear on dense" in card
    assert "### Before and after" in card
    assert here("report", run).returncode == 0
    page = (run / "report.html").read_text()
    assert "Before and after: run" in page
    assert found.sentence() in page
    assert found.sentence().startswith("The best step, 2, has ")


def test_a_run_that_is_called_with_another_set_keeps_its_best_step(config, tmp_path):
    """By another figure, or on other images, a worse step would become the best and its weights be lost."""
    dense = config.measuring
    config = replace(config, measuring=MeasuringConfig(measure_every=2))
    run = pretrain(config, tmp_path / "run").run
    kept = sorted(path.name for path in (run / "kept").iterdir())
    before = read_before_after(run)

    def is_refused():
        with pytest.raises(
            RunError, match=r"run chose its best step, \d, by kNN on labelled, .*by the same figure on "
        ):
            pretrain(replace(config, knn=replace(config.knn, knn_k=2)), run)
        with pytest.raises(RunError, match=r"would now choose by mIoU, linear on dense, .*`measure_by` that it was"):
            pretrain(replace(config, measuring=dense), run)
        assert sorted(path.name for path in (run / "kept").iterdir()) == kept

    is_refused()
    assert read_before_after(run) == before
    saved = read_json(run / "before-after.json", {})  # without its checksum
    del saved["chosen"]
    (run / "before-after.json").write_text(json.dumps(saved))  # as before it was noted
    is_refused()
    saved["chosen"] = [before.chosen[0], "VOC2012", *before.chosen[1:]]  # as older versions called sets
    saved["rows"] = [row | {"on": "VOC2012"} for row in saved["rows"]]
    (run / "before-after.json").write_text(json.dumps(saved))
    is_refused()
    pretrain(config, run)
    pretrain(replace(config, measuring=replace(dense, measure_by="knn")), run)  # a set more, to compare on
    after = read_before_after(run)
    assert (after.best_step, after.chosen_by) == (before.best_step, before.chosen_by)
    assert [line.title for line in after.table] == ["kNN", "mIoU, linear", "mIoU, nearest patches"]
    assert sorted(path.name for path in (run / "kept").iterdir()) == kept


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "when", ["in a step", *(pytest.param(one, marks=pytest.mark.slow) for one in ("in a measurement", "at the end"))]
)
def test_killed_and_resumed_nothing_is_measured_twice_or_lost(config, tmp_path, monkeypatch, when):
    calls = []
    measure = Measured.measure

    def counted(self, backbone, step, device):
        if (when, step, self.part, dying[0]) in (
            ("in a measurement", 2, "validation", True),
            ("at the end", 4, "test", True),
        ):
            dying[0] = False
            raise KilledError
        calls.append((step, self.part, self.on))
        return measure(self, backbone, step, device)

    def killed(fabric, method, batch, micro_batch_size):
        if when == "in a step" and batch.step == 3 and dying[0]:
            dying[0] = False
            raise KilledError
        return backward(fabric, method, batch, micro_batch_size)

    monkeypatch.setattr(Measured, "measure", counted)
    monkeypatch.setattr("samclr.training.pretrain.backward", killed)
    dying = [False]
    pretrain(config, tmp_path / "whole")
    wanted, whole = sorted(calls), read_before_after(tmp_path / "whole")
    calls.clear()
    dying = [True]
    with pytest.raises(KilledError):
        pretrain(config, tmp_path / "parts")
    pretrain(config, tmp_path / "parts")
    pretrain(config, tmp_path / "parts")  # finished: nothing is left to measure
    assert sorted(calls) == wanted
    parts = read_before_after(tmp_path / "parts")
    assert sorted(parts.rows, key=lambda row: row.key) == sorted(whole.rows, key=lambda row: row.key)
    assert (parts.table, parts.best_step, parts.sentence()) == (whole.table, whole.best_step, whole.sentence())
    one, other = (load_checkpoint(tmp_path / name)["method"] for name in ("whole", "parts"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_card_has_the_table_of_its_own_weights_alone(config, tmp_path):
    optim = replace(config.optim, steps=2, ema_decay=0.9)
    run = samclr.pretrain(replace(config, optim=optim, measuring=MeasuringConfig()), tmp_path / "run")
    for which, is_theirs in ((None, True), ("teacher", True), ("student", False)):
        samclr.export(run, tmp_path / "a.safetensors", which=which)
        assert ("### Before and after" in (tmp_path / "a.safetensors.md").read_text()) == is_theirs
    with pytest.raises(UsageError, match="`which` is 'start'; expected one of student, teacher, best"):
        samclr.export(run, tmp_path / "a.safetensors", which="start")

"""Sets are looked at before anything is trained: a wrong one had let every arm train to the end and fail then."""

import shutil
from dataclasses import replace

import pytest
from support.scenes import write_shapes
from support.study_files import IMAGE, write_study_files

from samclr.config.kinds import KINDS
from samclr.errors import EvaluationError
from samclr.study.job import plan_study, run_one


@pytest.fixture
def files(tmp_path):
    return write_study_files(tmp_path)


def plan_of(files, tmp_path, study=None, **changes):
    return plan_study(study or files.study, str(files.file), tmp_path / "out", files.given(**changes), parallel=1)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_set_that_is_not_there_is_refused_at_once(kind, files, tmp_path):
    with pytest.raises(EvaluationError, match="typo"):
        plan_of(files, tmp_path, **{kind.setting: {"other": tmp_path / "typo"}})
    assert not (tmp_path / "out").exists()


def test_a_set_may_be_gone_once_all_runs_are_measured_on_it(files, tmp_path):
    folder, plan = plan_of(files, tmp_path)
    for run in plan.runs()[1:]:
        folder.update_state(run.name, trained=True, measured={"tones/labelled": {"results": []}})
    shutil.rmtree(files.tones)
    with pytest.raises(EvaluationError, match="tones"):
        plan_of(files, tmp_path)
    assert plan_of(files, tmp_path, only=(IMAGE,))[1] == plan  # that arm is done
    folder.update_state(plan.runs()[0].name, trained=True, measured={"tones/labelled": {"results": []}})
    assert plan_of(files, tmp_path)[1] == plan


def test_what_a_protocol_cannot_measure_is_not_trained(files, tmp_path):
    """A mixer takes images of one size alone, and dense tasks need others."""
    study = replace(files.study, backbone="mixer_s32_224", size_px=224, untrained=False)
    dense = {"shapes": write_shapes(tmp_path / "shapes")}
    folder, plan = plan_of(files, tmp_path, study, on={}, dense_on=dense)
    run, outcome = run_one(folder, plan, 0)
    assert outcome == "failed"
    assert "mixer_s32_224 does not accept images of" in folder.reason(run)
    assert not folder.run_directory(run).exists()

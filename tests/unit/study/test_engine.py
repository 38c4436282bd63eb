"""Who runs when, and what becomes of runs whose process or store fails."""

import os
import signal

import pytest
from support.study_files import IMAGE, LABELS, write_study_files

from samclr.study.engine import carry_out_all
from samclr.study.job import plan_study
from samclr.study.worker import STATUS, outcome_of


class Scripted:
    """Slots whose tasks end at once with the status that `answers` has for them."""

    def __init__(self, folder, count, answers):
        self.folder, self.count, self.answers, self.started = folder, count, answers, []

    def start(self, folder, name, slot):
        self.started.append(name)
        return name

    def poll(self, handle):
        answer = self.answers.get(handle, 0)
        status = answer.pop(0) if isinstance(answer, list) else answer
        if status == 0:
            self.folder.update_state(handle, trained=True, measured={"tones/labelled": {"on": "tones"}})
        return status

    def stop(self, handle):
        raise AssertionError("nothing runs at the end")


@pytest.fixture
def study(tmp_path):
    files = write_study_files(tmp_path)
    return plan_study(files.study, str(files.file), tmp_path / "out", files.given(), parallel=1)


def carry_out(study, answers, count=1):
    folder, plan = study
    slots = Scripted(folder, count, answers)
    said: list[str] = []
    tally = carry_out_all(folder, plan, plan.runs(), slots, said.append)
    return tally, slots.started, said


def test_stores_come_before_the_runs_that_need_them(study):
    store = study[1].stores[0].name
    tally, started, said = carry_out(study, {})
    assert started.index(store) < started.index(f"{LABELS}.seed0")
    assert started.count(store) == 1
    assert len(tally.names("done")) == 6
    assert len(tally.names("missing")) == 2
    assert said[-1].startswith("done 8/8: ")


def test_seeds_are_run_one_after_the_other(study):
    """So that what an interrupted study has done can be compared: a store does not wait for runs that need none."""
    _, started, _ = carry_out(study, {})
    assert [name[-1] for name in started if ".seed" in name] == ["0"] * 3 + ["1"] * 3


def test_finished_runs_are_not_repeated(study):
    carry_out(study, {})
    _, started, _ = carry_out(study, {})
    assert started == [study[1].stores[0].name] or started == []


def test_a_failed_run_stops_no_other(study):
    study[0].log(f"{IMAGE}.seed0").parent.mkdir()
    study[0].log(f"{IMAGE}.seed0").write_text("step 3\nMemoryError\n\n")
    tally, _, said = carry_out(study, {f"{IMAGE}.seed0": -9})
    assert tally.names("failed") == [f"{IMAGE}.seed0"]
    assert len(tally.names("done")) == 5
    error = study[0].state(f"{IMAGE}.seed0")["error"]
    assert error.startswith("its process was ended by signal 9, as where memory runs out (then give a smaller ")
    assert error.endswith("seed0.log: MemoryError")
    assert f"failed: {IMAGE}.seed0: {error}" in said


def test_a_run_that_ends_with_the_signal_that_stops_the_study_has_not_failed(study, monkeypatch):
    """As under `timeout` or scancel, which signal every process of the group."""
    poll = Scripted.poll

    def polled(self, handle):
        os.kill(os.getpid(), signal.SIGTERM)
        return poll(self, handle)

    monkeypatch.setattr(Scripted, "poll", polled)
    tally, started, _ = carry_out(study, {run.name: 255 for run in study[1].runs()})
    assert tally.stopped
    assert len(started) == 1
    assert tally.names("failed") == []
    assert "error" not in study[0].state(started[0])


def test_a_store_that_fails_fails_its_runs_and_no_others(study):
    folder, plan = study
    store = plan.stores[0].name
    folder.update_state(store, error="no label map fits", unavailable=False)
    tally, started, _ = carry_out(study, {store: STATUS["failed"]})
    assert tally.names("failed") == [f"{LABELS}.seed0", f"{LABELS}.seed1"]
    assert f"{LABELS}.seed0" not in started
    assert folder.reason(plan.runs()[2]) == "no label map fits"
    folder.update_state(store, error="no weights here", unavailable=True)
    tally, _, _ = carry_out(study, {store: STATUS["failed"]})
    assert f"{LABELS}.seed0" in tally.names("missing")
    assert folder.stage(plan, plan.runs()[2]) == "missing"


def test_a_run_that_another_process_has_is_asked_for_again(study, monkeypatch):
    monkeypatch.setattr("samclr.study.engine.BUSY_S", 0.05)
    tally, started, _ = carry_out(study, {f"{IMAGE}.seed1": [STATUS["busy"], STATUS["busy"], 0]})
    assert started.count(f"{IMAGE}.seed1") == 3
    assert len(tally.names("done")) == 6


def test_slots_left_over_help_with_a_store(study):
    _, started, _ = carry_out(study, {}, count=8)
    assert started.count(study[1].stores[0].name) > 1


@pytest.mark.parametrize(
    ("status", "outcome"), [(0, "done"), (3, "failed"), (4, "missing"), (75, "busy"), (143, "stopped"), (-9, "failed")]
)
def test_statuses(status, outcome):
    assert outcome_of(status) == outcome

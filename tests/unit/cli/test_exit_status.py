"""One exit status for Ctrl-C, 130, and one for SIGTERM, 143, in every command."""

import signal
from types import SimpleNamespace

import pytest

from samclr.cli.commands import Command
from samclr.cli.tree import Node
from samclr.demo.demo import make_data
from samclr.processes.stopping import stop_signals

SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")]


def leaves(node: Node) -> list[Node]:
    """The commands that run, one recipe for all."""
    if not node.children:
        return [node]
    if node.child_word == "recipe":
        return [node.children["simclr"]]
    return [leaf for child in node.children.values() for leaf in leaves(child)]


def words_of(node: Node) -> list[str]:
    """What is required, made up."""
    words = list(node.path[1:])
    for option in node.options:
        if option.is_required and option.name not in node.needs:
            value = option.choices[0] if option.choices else "1" if option.number else "x"
            words += [value] if option.is_positional else [option.words[0], value]
    return words


@pytest.fixture(autouse=True)
def ctrl_c_interrupts():
    """As in a terminal: a job in a shell's background, as the tests may be, ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("leaf", leaves(Node(path=("samclr",), kind=Command)), ids=lambda leaf: leaf.command)
@pytest.mark.parametrize(("number", "status", "said"), SIGNALS, ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_has_one_status_in_every_command(leaf, number, status, said, call, monkeypatch):
    kind = Node(path=("samclr",), kind=Command).children[leaf.path[1]].kind
    monkeypatch.setattr(kind, "run", lambda self: signal.raise_signal(number))
    before = signal.getsignal(signal.SIGTERM)
    found, _, text = call(*words_of(leaf))
    assert found == status, text
    assert text.startswith(said)
    assert "resume" in text
    assert signal.getsignal(signal.SIGTERM) is before


def told(number: int) -> None:
    """A job that ends early by a signal leaves its number behind."""
    with stop_signals():
        signal.raise_signal(number)


@pytest.mark.parametrize(("number", "status", "_"), SIGNALS, ids=["Ctrl-C", "SIGTERM"])
def test_a_job_that_stops_between_two_steps_has_it_too(number, status, _, call, monkeypatch, tmp_path):
    def pretrain(config, run, announce=False):
        told(number)
        return SimpleNamespace(run=run, steps_done=3, num_steps=9, stopped=True, data_counts={}, speaks=True)

    monkeypatch.setattr("samclr.training.pretrain.pretrain", pretrain)
    (tmp_path / "scenes").mkdir()
    found, _, text = call("pretrain", "simclr", tmp_path / "scenes", "--out", tmp_path / "run")
    assert (found, "3 of 9 steps are saved; rerun the same command to resume" in text) == (status, True)

    def run_one(folder, plan, index):
        told(number)
        return plan.runs()[index], "stopped"

    monkeypatch.setattr("samclr.study.job.run_one", run_one)
    monkeypatch.setattr("samclr.study.job.make_data", lambda data, _: make_data(data, 4))
    found, _, _ = call("study", "run", "smoke", "--out", tmp_path / "study", "--index", 0)
    assert found == status
    monkeypatch.setattr("samclr.demo.demo.pretrain", pretrain)
    monkeypatch.setattr("samclr.demo.demo.segment_scenes", lambda *_: (None, SimpleNamespace(wall_s=0.0)))
    monkeypatch.setattr("samclr.demo.demo.make_data", lambda data, _: (data / "scenes").mkdir(parents=True))
    monkeypatch.setattr("samclr.demo.demo.list_scenes", lambda _: [])
    found, _, text = call("demo", "--out", tmp_path / "demo")
    assert (found, "stopped at step 3; rerun the same command to resume" in text) == (status, True)

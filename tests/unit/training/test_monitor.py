"""What a run says while it goes wrong: once for each kind of trouble, with advice."""

import math

import pytest

from samclr.errors import RunError
from samclr.training.monitor import PATIENCE_STEPS, CollapseMonitor

HEALTHY = {"loss": 1.0, "embedding_spread": 0.9, "teacher_entropy": 0.4, "prototype_entropy": 0.8}


def said(**metrics):
    monitor = CollapseMonitor()
    texts = [monitor.check(step, HEALTHY | metrics, math.log(15)) for step in range(2 * PATIENCE_STEPS)]
    return [(step, text) for step, text in enumerate(texts) if text]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"embedding_spread": 0.01}, "the embeddings have collapsed"),
        ({"loss": 2.708}, "stuck at chance, 2.708"),
        ({"loss": 4.1, "own_loss": 2.708}, "stuck at chance, 2.708"),  # beside an anchor's term
        ({"prototype_entropy": 0.01}, "collapsed to one prototype for all views"),
        ({"teacher_entropy": 0.9999}, "the teacher's shares are uniform"),
    ],
)
def test_each_trouble_is_told_once(metrics, expected):
    ((step, text),) = said(**metrics)
    assert step == PATIENCE_STEPS - 1
    assert expected in text


def test_a_healthy_run_is_silent():
    assert said() == []


def test_a_trouble_that_passes_and_comes_back_is_told_again():
    monitor = CollapseMonitor()
    bad = HEALTHY | {"embedding_spread": 0.0}
    rows = [bad] * PATIENCE_STEPS + [HEALTHY] + [bad] * PATIENCE_STEPS
    assert sum(monitor.check(step, row, math.log(15)) is not None for step, row in enumerate(rows)) == 2


def test_nan_raises():
    with pytest.raises(RunError, match="the loss became nan at step 7"):
        CollapseMonitor().check(7, {"loss": math.nan})

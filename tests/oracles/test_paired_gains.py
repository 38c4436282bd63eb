"""Gains of a run over its start: their intervals against a loop over resamples, and the sentence on them."""

import numpy as np
import pytest

from samclr.config.evaluation import IntervalConfig
from samclr.evaluation.before_after import compared
from samclr.evaluation.segmentation import miou_and_accuracy
from samclr.runs.before_after import BeforeAfter, Measurement


def measured(step, figure, value, answers):
    where = {"part": "test", "on": "set", "images": "x", "title": figure, "n": len(answers)}
    return Measurement(step=step, figure=figure, value=value, answers=answers.tolist(), **where)


def naive(before, after, measure):
    random, n, found = np.random.Generator(np.random.PCG64(0)), len(before), []
    for _ in range(IntervalConfig().bootstrap):
        drawn = random.integers(0, n, n)
        found.append(measure(after[drawn].sum(0)) - measure(before[drawn].sum(0)))
    return np.percentile(found, [2.5, 97.5])


def test_intervals_of_gains_are_paired_by_image():
    random = np.random.default_rng(3)
    before = (random.random((40, 1)) < 0.5).astype(float)
    after = np.maximum(before, random.random((40, 1)) < 0.2)
    line = compared(*(measured(0, "knn", one.mean(), one) for one in (before, after)), None)
    assert line.end_gain[0] == pytest.approx((after - before).mean())
    assert line.end_gain[1:] == pytest.approx(naive(before, after, lambda sums: sums[0] / 40))

    counts = [random.integers(0, 50, (12, 9)).astype(float) for _ in range(2)]
    for one in counts:  # right pixels are among the true and the predicted ones
        one[:, :3] = np.minimum(one[:, 3:6], one[:, 6:])
    values = [miou_and_accuracy(one.sum(0))[0] for one in counts]
    rows = [measured(0, "dense_linear", value, one) for value, one in zip(values, counts, strict=True)]
    line = compared(*rows, rows[0])
    assert line.end_gain[1:] == pytest.approx(naive(*counts, lambda sums: miou_and_accuracy(sums)[0]))
    assert line.best_gain == (0, 0, 0)


def test_the_sentence_says_what_was_gained_and_forgotten():
    start, worse, better = np.zeros((50, 1)), np.zeros((50, 1)), np.zeros((50, 1))
    start[:20], worse[:19], better[:30] = 1, 1, 1
    rows = [measured(step, "kNN", one.mean(), one) for step, one in ((0, start), (9, worse), (9, better))]
    table = [compared(rows[0], rows[2], None), compared(rows[0], rows[1], None)]
    found = BeforeAfter(settings="", table=table, end_step=9)
    assert found.sentence() == (
        "The end, step 9, has gained 20.0 points of kNN on set (10.0 to 30.0) and has forgotten 2.0 points of kNN on "
        "set (0.0 to 6.0, not told apart), against its start."
    )
    found.best_step = 0
    assert found.sentence().startswith("No step was better than the start. The end, step 9, has gained 20.0 points of ")
    alone = BeforeAfter(settings="", table=[compared(rows[0], rows[0], None), table[0]], end_step=9)
    assert alone.sentence().endswith("(10.0 to 30.0) and has kept kNN on set, against its start.")
    cells = found.cells()[1]
    assert (cells["start"], cells["end"], cells["end over start"]) == ("40.0", "38.0", "-2.0 (-6.0 to +0.0)")

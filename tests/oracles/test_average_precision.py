"""Average precision by VOC's two rules, against the naive loops of their definitions, and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from samclr.config.evaluation import IntervalConfig
from samclr.evaluation.average_precision import Ranking, mean_average_precisions
from samclr.evaluation.intervals import interval_ends


def by_the_loop(scores, marks):
    """Definitions, image by image, best first; no two scores are equal."""
    order = [number for number in np.argsort(-scores) if marks[number] != 0]
    positives, right, points = sum(marks == 1), 0, []
    for rank, number in enumerate(order, 1):
        right += marks[number] == 1
        points.append((right / positives, right / rank))
    area, last = 0.0, 0.0
    for recall, _ in points:
        area += (recall - last) * max(precision for other, precision in points if other >= recall)
        last = recall
    eleven = 0.0
    for tenth in range(11):
        eleven += max([p for recall, p in points if recall >= tenth / 10 - 1e-9], default=0.0) / 11
    return area, eleven


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_that_of_the_definition(seed):
    random = np.random.default_rng(seed)
    num = int(random.integers(2, 60))
    marks = random.choice([1, -1, 0], num, p=[0.3, 0.6, 0.1])
    marks[0] = 1
    scores = random.permutation(num) + 0.5 * (marks == 1) * num * random.random()
    assert len(set(scores)) == num
    found = Ranking.of(scores, marks).average_precision()
    assert found == pytest.approx(by_the_loop(scores, marks))
    counted = marks != 0
    plain = average_precision_score(marks[counted] == 1, scores[counted])
    assert found[0] >= plain - 1e-12  # scikit-learn's precision is as it comes, VOC's made monotone


def test_where_precision_falls_all_along_scikit_learn_agrees():
    marks = np.array([1, 1, -1, 1, -1, -1, 1, -1, -1, -1])  # precision at positives: 1, 1, 3/4, 4/7
    scores = -np.arange(10.0)
    assert Ranking.of(scores, marks).average_precision()[0] == pytest.approx(average_precision_score(marks > 0, scores))


def test_equal_scores_are_one_step_in_any_order():
    random = np.random.default_rng(0)
    marks, scores = random.choice([1, -1], 40), random.integers(0, 5, 40).astype(float)
    order = random.permutation(40)
    found = Ranking.of(scores, marks).average_precision()
    assert found == pytest.approx(Ranking.of(scores[order], marks[order]).average_precision())
    flat = Ranking.of(np.zeros(40), marks).average_precision()
    assert flat == pytest.approx(((marks > 0).mean(),) * 2)


def test_weights_are_images_that_are_there_several_times():
    random = np.random.default_rng(1)
    marks, scores, times = random.choice([1, -1, 0], 50), random.normal(size=50), random.integers(0, 4, 50)
    again = np.repeat(np.arange(50), times)
    weighted = Ranking.of(scores, marks).average_precision(times.astype(float))
    assert weighted == pytest.approx(Ranking.of(scores[again], marks[again]).average_precision())


def test_without_a_positive_there_is_none():
    assert np.isnan(Ranking.of(np.arange(3.0), np.array([-1, 0, -1])).average_precision()).all()
    assert np.isnan(Ranking.of(np.arange(3.0), np.zeros(3, np.int64)).average_precision()).all()


def test_intervals_are_those_of_whole_resamples():
    random, config = np.random.default_rng(2), IntervalConfig(bootstrap=100, bootstrap_seed=3)
    marks, scores = random.choice([1, -1, 0], (30, 2), p=[0.3, 0.6, 0.1]), random.normal(size=(30, 2))
    rankings = [[Ranking.of(scores[:, k], marks[:, k]) for k in (0, 1)]]
    values, drawn = mean_average_precisions(rankings, 30, config)
    ends = interval_ends(drawn)
    assert values == pytest.approx(np.mean([by_the_loop(scores[:, k], marks[:, k]) for k in (0, 1)], 0))
    generator, drawn = np.random.Generator(np.random.PCG64(3)), []
    for _ in range(100):
        rows = generator.integers(0, 30, 30)
        drawn.append([Ranking.of(scores[rows, k], marks[rows, k]).average_precision() for k in (0, 1)])
    assert ends == pytest.approx(np.percentile(np.nanmean(drawn, 1), (2.5, 97.5), axis=0).T)

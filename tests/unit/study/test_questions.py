"""Long lists of differences fold by the question that they answer."""

import numpy as np

from samclr.study.compare import compare, phrase
from samclr.study.plan import Given
from samclr.study.planning import make_plan
from samclr.study.questions import MAX_OPEN, questions_of
from samclr.study.studies import CONTROLS


def differences_on(*sets):
    given = Given(scenes={"photos": ("/p",)}, on=dict.fromkeys(sets, "/s"), labels={"photos": "/l"})
    plan = make_plan(CONTROLS, "controls", given, 1)
    random = np.random.default_rng(0)
    levels = {arm.name: random.uniform(0.4, 0.6) for arm in plan.arms}
    keys = [(m.key, metric.key) for m, metric in plan.columns()]
    shares = {
        name: {key: {s: level + random.normal(0, 0.01) for s in (0, 1, 2)} for key in keys}
        for name, level in levels.items()
    }
    return compare(plan, shares)


def test_every_difference_stands_under_one_question():
    differences = differences_on("cifar10", "pets")
    questions = questions_of(differences)
    assert [question.title for question in questions] == ["Do the views matter?", "Is training better than none?"]
    assert sorted(text for question in questions for text in question.sentences) == sorted(map(phrase, differences))
    assert sum(len(chart.rows) for question in questions for chart in question.charts) == len(differences) > MAX_OPEN
    assert [question.is_open for question in questions] == [True, False]
    assert not questions[0].is_short
    views = [d for d in differences if d.pair.differing == ("views",)]
    assert f"{sum(d.verdict == 'better' for d in views)} better" in questions[0].counts
    assert questions[0].sentences[0] in [phrase(d) for d in views if d.verdict == "better"]


def test_a_short_list_is_not_folded():
    few = differences_on("cifar10")[:MAX_OPEN]
    assert all(question.is_open and question.is_short for question in questions_of(few))

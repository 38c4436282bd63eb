"""Long lists of differences fold by the question that they answer."""

import numpy as np
import pytest

from samclr.study.compare import compare, phrase, t_interval
from samclr.study.over_methods import means_over_methods
from samclr.study.plan import UNTRAINED, Given
from samclr.study.planning import make_plan
from samclr.study.questions import MAX_OPEN, questions_of
from samclr.study.recipe import Grid, Study
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


def differences_of_methods(*strategies, headline="", **kept):
    """Views of regions gain 1, 2 and 6 points with three methods in seed 0, a point more in seed 1; `kept`: seeds.

    SimCLR's two arms have each a temperature of their own; its gain is 8 points, and belongs to no mean.
    """
    methods = ("byol", "moco", "dino", "simclr")
    study = Study(
        name="views", summary="Views.", grids=(Grid(methods=methods, strategies=strategies),), headline=headline
    )
    plan = make_plan(study, "views", Given(scenes={"photos": ("/p",)}, on={"tones": "/t"}), 1)
    gains = dict(zip(methods, (0.01, 0.02, 0.06, 0.08), strict=True))
    key = plan.columns()[0]
    return compare(
        plan,
        {
            arm.name: {
                (key[0].key, key[1].key): {
                    seed: 0.5 + (arm.strategy == "region") * (gains[arm.method] + 0.01 * seed)
                    for seed in kept.get(arm.method, (0, 1))
                }
            }
            for arm in plan.arms
            if arm.name != UNTRAINED
        },
    )


@pytest.mark.parametrize("headline", ["", "*.moco.region.*", "*.moco.image.*"])
@pytest.mark.parametrize("strategies", [("image", "region"), ("region", "image")])
def test_views_on_the_mean_of_the_methods(strategies, headline):
    """SimCLR, whose temperature differs too, is left out; a headline arm may stand on either side of its difference."""
    (mean,) = means_over_methods(differences_of_methods(*strategies, headline=headline))
    sign = 1 if mean.views[0] == "felzenszwalb regions" else -1
    assert {*mean.views} == {"felzenszwalb regions", "whole images"}
    assert mean.by_seed == pytest.approx({0: sign * 0.03, 1: sign * 0.04})
    low, high = t_interval([0.03, 0.04])
    assert mean.interval == pytest.approx((low, high) if sign > 0 else (-high, -low))
    if sign > 0:
        assert phrase(mean) == (
            "Views of felzenszwalb regions against views of whole images, mean of 3 methods, on tones by kNN: "
            "not told apart, +3.5 points (95 % interval -2.9 to +9.9, n = 2). Methods: BYOL, DINO, MoCo. "
            "Left out, as more than the views differs: SimCLR (temperature)."
        )
        assert mean.names == ("mean of 3 methods (byol dino moco): felzenszwalb regions", "whole images")
    (question,) = questions_of([mean])
    assert question.charts[0].title == f"{' against '.join(mean.views)}, mean of 3 methods"
    assert question.charts[0].rows[0].label == "tones, kNN"


def test_the_mean_is_of_seeds_that_every_method_has():
    (mean,) = means_over_methods(differences_of_methods("image", "region", moco=(1,)))
    assert mean.by_seed == pytest.approx({1: 0.04})
    assert means_over_methods(differences_of_methods("image", "region", moco=(0,), byol=(1,))) == []
    only_one = [d for d in differences_of_methods("image", "region") if d.pair.arm.method in ("moco", "simclr")]
    assert means_over_methods(only_one) == []


def test_a_method_at_equal_temperatures_counts_by_these_alone():
    """Beside a headline arm SimCLR has pairs of both kinds: those of equal temperatures are in the mean."""
    grids = (
        Grid(methods=("byol",)),
        Grid(strategies=("image",), temperatures=(0.07, 0.5)),
        Grid(strategies=("region",)),
    )
    study = Study(name="views", summary="Views.", grids=grids, headline="*.simclr.region.*")
    plan = make_plan(study, "views", Given(scenes={"photos": ("/p",)}, on={"tones": "/t"}), 1)
    (m, metric), *_ = plan.columns()
    shares = {"byol.image": 0.3, "byol.region": 0.4, "simclr.image.t0.07": 0.3, "simclr.image.t0.5": 0.9}
    shares |= {"simclr.region": 0.6}
    differences = compare(
        plan,
        {
            arm.name: {(m.key, metric.key): {0: share}}
            for arm in plan.arms
            for part, share in shares.items()
            if part in arm.name
        },
    )
    (mean,) = means_over_methods(differences)
    sign = 1 if mean.views[0] == "felzenszwalb regions" else -1
    assert mean.by_seed == pytest.approx({0: sign * 0.2})
    assert mean.left_out == {}
    assert mean.remark == "Methods: BYOL, SimCLR."

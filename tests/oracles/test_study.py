"""Paired differences, means and deviations against scipy and numpy."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from samclr.config.registry import METHODS
from samclr.study.compare import compare, pairs_of, phrase, t_interval
from samclr.study.plan import Given
from samclr.study.planning import make_plan
from samclr.study.recipe import Grid, Study
from samclr.study.studies import CONTROLS, PADDING, PAPER, TEMPERATURE
from samclr.study.tables import Cell, percent, spread_text

PHOTOS = Given(scenes={"photos": (Path("/p"),)}, on={"set": Path("/s")}, labels={"photos": Path("/l")})


@pytest.mark.parametrize("n", [2, 3, 7])
def test_intervals_are_those_of_a_paired_t_test(n):
    random = np.random.default_rng(n)
    ours, theirs = random.normal(0.6, 0.05, n), random.normal(0.5, 0.05, n)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert t_interval(list(ours - theirs)) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval():
    assert t_interval([0.1]) is None


def test_mean_and_deviation():
    values = {0: 0.5, 1: 0.75, 2: 0.625}
    cell = Cell(by_seed=values, quoted=None, state="")
    assert cell.mean == pytest.approx(np.mean(list(values.values())))
    assert cell.deviation == pytest.approx(np.std(list(values.values()), ddof=1))
    assert spread_text(cell) == "62.5 ± 12.5"
    assert spread_text(Cell(by_seed={0: 0.5}, quoted=None, state="")) == "50.0"
    assert percent(None) == "-"


def names_of(study, given):
    plan = make_plan(study, study.name, given, 1)
    pairs = [(pair.arm.title, pair.baseline.title, pair.differing) for pair in pairs_of(plan)]
    floors = [pair for pair in pairs if pair[1] == "before any training"]
    assert [pair[0] for pair in floors] == [arm.title for arm in plan.arms if arm.scenes]  # training or none
    return [pair for pair in pairs if pair not in floors]


def test_pairs_differ_in_one_factor():
    found = names_of(TEMPERATURE, PHOTOS)
    assert found == [
        ("SimCLR, temperature 0.5", "SimCLR, temperature 0.07", ("temperature",)),
        ("SAMCLR, temperature 0.07", "SimCLR, temperature 0.07", ("views",)),
        ("SAMCLR, temperature 0.5", "SimCLR, temperature 0.5", ("views",)),
        ("SAMCLR, temperature 0.5", "SAMCLR, temperature 0.07", ("temperature",)),
    ]
    assert len(names_of(CONTROLS, PHOTOS)) == 10  # five kinds of views, each with each
    paddings = names_of(PADDING, PHOTOS)
    assert len(paddings) == 5
    assert {baseline for _, baseline, _ in paddings} == {"SAMCLR, padding 1"}


def test_views_are_compared_where_each_has_its_recipe_s_temperature():
    study = Study(name="recipes", summary="", grids=(Grid(methods=("simclr", "moco")),))
    assert names_of(study, PHOTOS) == [
        ("SAMCLR", "SimCLR", ("views", "temperature")),
        (METHODS["moco"].region_title, "MoCo", ("views",)),
    ]
    equal = Study(name="equal", summary="", grids=(*study.grids, Grid(strategies=("image",), temperatures=(0.07,))))
    assert ("views", "temperature") not in [differing for *_, differing in names_of(equal, PHOTOS)]


def test_the_paper_s_comparisons_name_their_confounds():
    scenes = {"cityscapes": (Path("/c"),)}
    found = names_of(PAPER, Given(scenes=scenes, on={"cifar10": Path("/s")}))
    of_cityscapes = found[:3]
    assert of_cityscapes == [
        ("SAMCLR", "MoCo", ("method", "views", "temperature")),
        ("SAMCLR", "DINO", ("method", "views", "temperature")),
        ("SAMCLR", "SimCLR", ("views", "temperature")),
    ]


def differences_of(image, region):
    plan = make_plan(TEMPERATURE, "temperature", PHOTOS, 1)
    by_name = {arm.title: arm.name for arm in plan.arms}
    key = ("set/labelled", "knn_top1")
    shares = {
        by_name["SimCLR, temperature 0.07"]: {key: image},
        by_name["SAMCLR, temperature 0.07"]: {key: region},
    }
    return compare(plan, shares)


@pytest.mark.parametrize(
    ("region", "verdict", "words"),
    [
        ({0: 0.61, 1: 0.62, 2: 0.64}, "better", "better, +12.3 points (95 % interval +8.5 to +16.1, n = 3)."),
        ({0: 0.40, 1: 0.41, 2: 0.39}, "worse", "worse, -10.0 points"),
        ({0: 0.40, 1: 0.61, 2: 0.52}, "open", "not told apart, +1.0 points"),
        ({0: 0.61}, "one seed", "+11.0 points (n = 1, no interval: a direction, not a proof)."),
        ({0: 0.61, 7: 0.9}, "one seed", "+11.0 points (n = 1"),  # a seed that the other arm lacks does not count
    ],
)
def test_words_follow_the_numbers(region, verdict, words):
    (difference,) = differences_of({0: 0.50, 1: 0.50, 2: 0.50}, region)
    assert difference.verdict == verdict
    assert words in phrase(difference)
    assert phrase(difference).startswith("SAMCLR, temperature 0.07 against SimCLR, temperature 0.07 on set by kNN")


def test_differences_of_nothing_can_be_drawn():
    from samclr.study.pictures import interval_chart

    same = differences_of({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5})
    chart = interval_chart("set", same)
    assert chart.rows[0].mean == chart.zero
    (wide,) = differences_of({0: 0.5, 1: 0.5}, {0: 0.51, 1: 0.6})
    row = interval_chart("set", [wide]).rows[0]
    assert row.low < row.dots[0] < row.mean < row.dots[1] < row.high <= 100


def test_no_common_seed_no_difference():
    assert differences_of({0: 0.5}, {1: 0.6}) == []

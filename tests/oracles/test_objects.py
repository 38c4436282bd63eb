"""Objects that find their like, against loops over objects as the definitions have them."""

import numpy as np
import pytest

from samclr.config.evaluation import IntervalConfig
from samclr.embedding.objects.retrieval import retrieve
from samclr.embedding.objects.scores import _scores
from samclr.errors import EvaluationError


def by_the_loop(vectors, group, like):
    """(query, average precision, precision at 10, R-precision) of each object that has a like in another group.

    Equally near ones are one step; of those at the cut of the nearest, each belongs to them by an equal share.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = []
    for query in range(len(unit)):
        others = [one for one in range(len(unit)) if group[one] != group[query]]
        near = {one: round(float(unit[query] @ unit[one]), 12) for one in others}
        likes = [one for one in others if like(query, one)]
        if not likes:
            continue

        def share_of_likes(num, near=near, likes=likes):
            cut = sorted(near.values())[-num]
            at_cut = [one for one in near if near[one] == cut]
            nearer = [one for one in near if near[one] > cut]
            share = (num - len(nearer)) / len(at_cut)
            return (len({*nearer} & {*likes}) + share * len({*at_cut} & {*likes})) / num

        as_near = [[one for one in others if near[one] >= near[like]] for like in likes]
        average = np.mean([len({*some} & {*likes}) / len(some) for some in as_near])
        found.append((query, average, share_of_likes(min(10, len(others))), share_of_likes(len(likes))))
    return [np.array(column) for column in zip(*found, strict=True)]


@pytest.mark.parametrize("are_equal", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_measures_are_those_of_the_definition(seed, are_equal, monkeypatch):
    monkeypatch.setattr("samclr.embedding.objects.retrieval.PRODUCTS_AT_ONCE", 70)  # some queries at a time
    random = np.random.default_rng(seed)
    num = int(random.integers(2, 50)) + 4
    vectors, group, classes = random.normal(size=(num, 5)), random.integers(0, 6, num), random.integers(0, 5, num)
    group[:2], classes[:2] = (0, 1), 0
    if are_equal:  # some of them
        vectors = vectors[random.integers(0, 5, num)]
    got = retrieve(vectors, group, lambda rows: classes[rows][:, None] == classes)
    queries, *measures = by_the_loop(vectors, group, lambda one, other: classes[one] == classes[other])
    assert got.queries.tolist() == queries.tolist()
    for ours, theirs in zip((got.average_precision, got.precision_at_10, got.r_precision), measures, strict=True):
        assert ours == pytest.approx(theirs)


@pytest.mark.parametrize("width", [3, 64])
def test_of_equal_vectors_none_is_nearer(width):
    """A collapsed backbone finds likes by chance, whichever object is listed first."""
    vectors, group = np.tile(np.random.default_rng(0).normal(size=width), (36, 1)), np.repeat(np.arange(12), 3)
    classes = np.tile([0, 0, 1], 12)
    for order in (np.arange(36), np.random.default_rng(1).permutation(36)):
        kinds = classes[order]
        got = retrieve(vectors, group[order], lambda rows, kinds=kinds: kinds[rows][:, None] == kinds)
        shares = np.where(kinds == 0, 22 / 33, 11 / 33)
        for measure in (got.average_precision, got.precision_at_10, got.r_precision):
            assert measure == pytest.approx(shares)


def test_objects_without_a_like_or_a_direction():
    ones = np.eye(3)
    with pytest.raises(EvaluationError, match="no object has another of its kind to be found"):
        retrieve(ones, np.zeros(3, int), lambda rows: np.ones((len(rows), 3), bool))  # all of one image
    for odd, message in ((0.0, "vector 1 is all zeros"), (np.nan, "vector 1 is not finite")):
        ones[1] = odd
        with pytest.raises(EvaluationError, match=message):
            retrieve(ones, np.arange(3), lambda rows: np.ones((len(rows), 3), bool))


def test_means_and_intervals_are_those_of_whole_resamples():
    random, interval = np.random.default_rng(0), IntervalConfig(bootstrap=100, bootstrap_seed=5)
    image, classes = np.sort(random.integers(0, 9, 40)), random.integers(0, 3, 40)
    values = random.random(40)
    found, resampled = _scores({"map": values}, image, classes, 10, 3, interval)

    def means(rows):
        some = np.concatenate([np.flatnonzero(image == one) for one in rows])
        by_class = [values[some][classes[some] == k].mean() for k in np.unique(classes[some])]
        return values[some].mean(), np.mean(by_class)

    assert [found[name].value for name in ("map", "map_class")] == pytest.approx(means(range(10)))
    generator = np.random.Generator(np.random.PCG64(5))
    drawn = [means(generator.integers(0, 10, 10)) for _ in range(100)]
    assert resampled == pytest.approx(np.array(drawn))
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    assert [found[name].low for name in ("map", "map_class")] == pytest.approx(low)
    assert [found[name].high for name in ("map", "map_class")] == pytest.approx(high)
    assert found["map"].n == 10

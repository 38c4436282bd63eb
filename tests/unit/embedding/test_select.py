"""Diverse subsets: facility location against a naive greedy choice, and what k-means++ promises."""

import numpy as np
import pytest

from samclr.embedding.select import Sets, covering, spread
from samclr.errors import UsageError

SIZES = [1, 2, 4, 8, 16, 32]
CLUSTER = np.repeat(np.arange(6), SIZES)


@pytest.fixture
def vectors() -> np.ndarray:
    """Six directions of 1, 2, 4, 8, 16, 32 rows, one after another."""
    random = np.random.default_rng(0)
    centres = np.linalg.qr(random.standard_normal((32, 6)))[0].T
    rows = np.repeat(centres, SIZES, 0) + 0.01 * random.standard_normal((63, 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def greedy(vectors: np.ndarray, sets: Sets, num: int) -> list[int]:
    similarity = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    best, chosen = np.full(len(vectors), -1.0), []
    for _ in range(num):
        near = [np.maximum(best, similarity[sets[number]].max(0)) for number in range(sets.num)]
        gains = [-np.inf if number in chosen else one.sum() for number, one in enumerate(near)]
        chosen.append(int(np.argmax(gains)))
        best = near[chosen[-1]]
    return chosen


def test_facility_location_is_the_greedy_choice(vectors):
    single = Sets(np.arange(len(vectors)))
    assert covering(vectors, single, 12) == greedy(vectors, single, 12)
    assert sorted(CLUSTER[covering(vectors, single, 6)]) == [0, 1, 2, 3, 4, 5]
    several = Sets(np.arange(len(vectors)) * 7 % 20)
    assert covering(vectors, several, 20) == greedy(vectors, several, 20)


def test_kmeans_plus_plus_takes_from_each_cluster_by_its_seed(vectors):
    single = Sets(np.arange(len(vectors)))
    chosen = [spread(vectors, single, 6, seed) for seed in range(8)]
    assert all(sorted(CLUSTER[one]) == [0, 1, 2, 3, 4, 5] for one in chosen)
    assert chosen[3] == spread(vectors, single, 6, 3)
    assert len(set(map(tuple, chosen))) > 1
    assert spread(vectors, single, 20, 1)[:6] == chosen[1]


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_rows_like_those_chosen_come_last(vectors, kind):
    rows = vectors[CLUSTER <= 2].astype(kind)  # seven
    rows = np.concatenate([rows, rows[:3], rows[:3]])
    chosen = spread(rows, Sets(np.arange(13)), 13, 0)
    assert sorted({row if row < 7 else (row - 7) % 3 for row in chosen[:7]}) == list(range(7))
    assert sorted(chosen) == list(range(13))
    assert chosen[7:] == sorted(chosen[7:])


def test_an_image_brings_all_its_objects(vectors):
    """Image 0 has an object of each cluster: after it nothing new is left, and it is what covers best."""
    first = np.searchsorted(CLUSTER, np.arange(6))
    keys = np.where(np.isin(np.arange(63), first), 100, np.arange(63))
    sets = Sets(keys)
    assert sets.num == 58
    assert sets[0].tolist() == first.tolist()
    assert covering(vectors, sets, 1) == [0]


def test_more_than_there_are_is_refused(vectors):
    for choose in (covering, lambda *given: spread(*given, 0)):
        with pytest.raises(UsageError, match="64 images are asked for; there are 63"):
            choose(vectors, Sets(np.arange(63)), 64)

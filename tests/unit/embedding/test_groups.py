"""Groups of near-duplicates against scipy's connected components, and the rule for groups that are too large."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import samclr.embedding.duplicates as duplicates
from samclr.embedding.duplicates import find_groups, pairs_over
from samclr.errors import PartsError


def on_circle(degrees: list[float], kind: type = np.float32) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(kind)


def within(degrees: float) -> float:
    return float(np.cos(np.deg2rad(degrees)))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_groups_are_connected_components(kind, monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS_AT_ONCE", 64)
    monkeypatch.setattr(duplicates, "PAIRS_AT_ONCE", 50)
    random = np.random.default_rng(0)
    rows = random.standard_normal((300, 12))
    rows[150:] = rows[random.integers(0, 150, 150)] + 0.25 * random.standard_normal((150, 12))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(kind)
    wide = vectors.astype(np.float64)
    first, second = np.nonzero(np.triu(wide @ wide.T >= 0.9, 1))
    assert sorted((a, b) for one, other, _ in pairs_over(vectors, 0.9) for a, b in zip(one, other, strict=True)) == [
        *zip(first, second, strict=True)
    ]
    _, label = connected_components(coo_array((np.ones(len(first)), (first, second)), shape=(300, 300)))
    found = find_groups(vectors, 0.9, max_group=1000)
    parts = {tuple(np.flatnonzero(label == one)) for one in range(label.max() + 1)}
    assert {tuple(np.flatnonzero(found.group == one)) for one in range(len(found.kept))} == {
        part for part in parts if len(part) > 1
    }
    assert [min(np.flatnonzero(found.group == one)) for one in range(len(found.kept))] == found.kept.tolist()
    assert len(found.left_out()) == sum(len(part) - 1 for part in parts)
    assert found.num_split == 0


def test_what_is_kept_is_first_in_the_order_asked_for():
    vectors = on_circle([0, 1, 90, 91, 180])
    assert find_groups(vectors, within(2)).kept.tolist() == [0, 2]
    found = find_groups(vectors, within(2), order=np.array([3, 4, 1, 0, 2]))
    assert (found.kept.tolist(), found.left_out().tolist()) == ([3, 1], [0, 2])
    assert found.group.tolist() == [1, 1, 0, 0, -1]


def test_a_group_over_the_cap_is_not_chained_through():
    """A chain of 1 degree steps: within the cap it is one group, over it each row kept takes what is near itself."""
    vectors = on_circle(list(range(10)))
    assert find_groups(vectors, within(1.5), max_group=10).group.tolist() == [0] * 10
    found = find_groups(vectors, within(1.5), max_group=9)
    assert found.group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert (found.kept.tolist(), found.num_split) == ([0, 2, 4, 6, 8], 1)
    found = find_groups(vectors, within(1.5), max_group=9, order=np.arange(1, 11) % 10)
    assert found.group.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, -1]  # 1 takes 0 and 2; 9 stays alone


def test_equal_rows_stay_one_group_whatever_the_cap():
    found = find_groups(np.tile(on_circle([30], np.float16), (200, 1)), 0.99, max_group=3)
    assert (set(found.group), found.kept.tolist(), found.num_split) == ({0}, [0], 1)


def test_a_check_decides_what_the_vectors_cannot():
    vectors = on_circle([0, 1, 2, 90])
    same = np.array([0, 1, 1, 0])
    for cap in (10, 2):
        found = find_groups(vectors, within(1.5), max_group=cap, check=lambda one, other: same[one] == same[other])
        assert found.group.tolist() == [-1, 0, 0, -1]


def test_nothing_has_no_groups_and_a_damaged_row_is_named():
    assert find_groups(np.empty((0, 4), np.float32), 0.9).group.shape == (0,)
    assert find_groups(on_circle([5]), 0.9).kept.shape == (0,)
    with pytest.raises(PartsError, match="row 1 is not a vector of unit length"):
        find_groups(np.array([[1, 0], [np.nan, 0], [0, 1]], np.float32), 0.9)

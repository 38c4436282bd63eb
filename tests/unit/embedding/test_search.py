"""Exact search against naive loops and scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import samclr.embedding.search as search
from samclr.embedding.dots import QuickDots, exact_dots, slack
from samclr.embedding.search import nearest_rows
from samclr.errors import EvaluationError, PartsError


def unit(count: int, width: int = 24, seed: int = 0, kind: type = np.float32) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(kind)


def naive(queries: np.ndarray, vectors: np.ndarray, k: int) -> list[list[int]]:
    answers = []
    for query in queries.astype(np.float64):
        similarity = [float(np.dot(query, row)) for row in vectors.astype(np.float64)]
        answers.append(sorted(range(len(vectors)), key=lambda row: (-similarity[row], row))[:k])
    return answers


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("count", [1, 9])
def test_the_nearest_are_those_of_a_naive_loop(kind, count, monkeypatch):
    monkeypatch.setattr(search, "ROWS_AT_ONCE", 32)
    monkeypatch.setattr(search, "ROWS_FOR_FEW", 32)
    vectors, queries = unit(301, kind=kind), unit(count, seed=1)
    for k in (1, 7, 40, 301, 500):
        similarity, rows = nearest_rows(3 * queries, vectors, k)
        assert rows.tolist() == naive(queries, vectors, k)
        np.testing.assert_allclose(similarity[:, 0], (queries @ vectors.T.astype(np.float32)).max(1), atol=1e-6)


def test_the_nearest_are_those_of_scikit_learn():
    vectors, queries = unit(2000, 64), unit(20, 64, seed=1)
    oracle = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(vectors)
    distance, rows = oracle.kneighbors(queries)
    similarity, found = nearest_rows(queries, vectors, 10)
    assert (found == rows).all()
    np.testing.assert_allclose(similarity, 1 - distance, atol=1e-6)


@pytest.mark.parametrize("count", [1, 9])
def test_equal_rows_come_in_their_order_wherever_they_lie(count, monkeypatch):
    """A product's rounding depends on where in its block a row lies; the answer does not."""
    monkeypatch.setattr(search, "ROWS_AT_ONCE", 37)
    monkeypatch.setattr(search, "ROWS_FOR_FEW", 37)
    vectors = np.tile(unit(1, 515, seed=3), (400, 1))
    similarity, rows = nearest_rows(np.tile(unit(1, 515, seed=4), (count, 1)), vectors, 50)
    assert rows.tolist() == [list(range(50))] * count
    assert len(np.unique(similarity)) == 1


def test_rows_that_rise_in_similarity_are_found(monkeypatch):
    """Each block is better than all before it: nothing is left out, and what is put aside stays little."""
    monkeypatch.setattr(search, "ROWS_FOR_FEW", 256)
    angle = np.linspace(np.pi, 0, 3000)
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    _, rows = nearest_rows(np.array([[1.0, 0.0]]), vectors, 5)
    assert rows.tolist() == naive(np.array([[1.0, 0.0]]), vectors, 5)


def test_quick_products_stay_within_their_slack():
    for kind in (np.float16, np.float32):
        vectors, queries = unit(500, 512, kind=kind), unit(6, 512, seed=1)
        vectors[0] = np.finfo(np.float16).smallest_subnormal
        pairs = np.nonzero(np.ones((6, 500), bool))
        exact = exact_dots(queries, vectors, pairs).reshape(6, 500)
        assert np.abs(QuickDots(queries)(vectors) - exact).max() < slack(512) / 8
        assert np.abs(QuickDots(queries[:1])(vectors) - exact[:1]).max() < slack(512) / 8


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([[np.nan, 1.0]], "vector 0 is not finite"),
        ([[1.0, 0.0], [0.0, 0.0]], "vector 1 is all zeros"),
        ([[1.0, 0.0, 0.0]], r"shape \(1, 3\); expected \[n 2\]"),
    ],
)
def test_a_query_without_direction_is_refused(query, words):
    with pytest.raises(EvaluationError, match=words):
        nearest_rows(np.array(query), np.eye(2, dtype=np.float32), 1)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 7.0])
def test_a_row_that_is_no_unit_vector_is_named(kind, odd):
    vectors = unit(50, 8, kind=kind)
    vectors[31, 2] = odd
    with pytest.raises(PartsError, match="row 31 is not a vector of unit length"):
        nearest_rows(np.full((1, 8), 1.0), vectors, 3)


def test_no_rows_and_no_queries_have_empty_answers():
    assert nearest_rows(unit(2), np.empty((0, 24), np.float16), 3)[1].shape == (2, 0)
    assert nearest_rows(np.empty((0, 24)), unit(5), 3)[1].shape == (0, 3)
    with pytest.raises(EvaluationError, match="k is 0"):
        nearest_rows(unit(1), unit(1), 0)

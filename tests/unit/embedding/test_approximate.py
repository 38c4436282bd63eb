"""Search through an index of Faiss finds nearly what exact search does, and says what it finds as exactly."""

import sys

import numpy as np
import pytest
from support.vectors import write_vectors

import samclr
from samclr.embedding.approximate import nearest_by_index
from samclr.embedding.lookup import most_similar
from samclr.errors import UsageError


@pytest.fixture
def vectors(tmp_path) -> samclr.Vectors:
    """Two thousand objects about forty directions."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((40, 16))
    rows = centres[random.integers(0, 40, (40, 51))] + 0.4 * random.standard_normal((40, 51, 16))
    write_vectors(tmp_path / "vectors", {f"{number:02d}.png": some for number, some in enumerate(rows)}, "float16")
    return samclr.open_vectors(tmp_path / "vectors")


def test_most_neighbours_are_found_and_their_similarity_is_exact(vectors):
    pytest.importorskip("faiss")
    queries = vectors.matrix("region")[::37].astype(np.float32)
    exact, rows = vectors.search(queries, 10, "region")
    for _ in range(2):  # built, then read
        similarity, found = nearest_by_index(vectors, queries, 10, "region")
        assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, found, strict=True)]) > 0.9
        right = found == rows
        np.testing.assert_array_equal(similarity[right], exact[right])
    assert len(list((vectors.path / "mapped").rglob("region.ivf.faiss"))) == 1


def test_few_vectors_and_a_large_k_are_fine(vectors):
    pytest.importorskip("faiss")
    found = most_similar(vectors, vectors.matrix("image")[3], 100, "image", without=3 * 51, index="faiss")
    assert len(found) == 39
    assert found == most_similar(vectors, vectors.matrix("image")[3], 100, "image", without=3 * 51)


def test_the_extra_is_named_where_it_is_missing(vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"faiss needs a package: pip install 'samclr\[faiss\]'"):
        nearest_by_index(vectors, vectors.matrix("image")[:1], 3, "image")

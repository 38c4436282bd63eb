"""Exact search: the most similar rows of an array of unit vectors, block by block over a mapped file.

A quick product in float32 leaves few candidates; these are compared in float64. So the answer does not depend on
blocks, threads or rounding, and equal rows come in their order. Memory does not grow with the array.
"""

import numpy as np
from jaxtyping import Float, Int

from samclr.embedding.dots import FEW_QUERIES, exact_dots, product_blocks, slack, unit_rows
from samclr.errors import EvaluationError

ROWS_AT_ONCE, ROWS_FOR_FEW = 4096, 32_768  # for a matrix product, and for the kernel of few queries
QUERIES_AT_ONCE = 1024
PENDING = 4096  # candidates that are put aside at least until they are sorted in


def nearest_rows(
    queries: Float[np.ndarray, "n d"], vectors: Float[np.ndarray, "m d"], k: int
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Cosine similarity and row of the k most similar vectors of each query, best first, the lower row where equal;
    all rows if there are fewer.

    queries: of any length but zero. vectors: rows of unit length in float16 or float32, as they lie in a file; the
    similarity is that of the rows as stored.

    Raises:
        EvaluationError: a query has no direction or another width, or k is not positive.
        PartsError: a row is found that is not of unit length.
    """
    if queries.ndim != 2 or queries.shape[1] != vectors.shape[1]:
        raise EvaluationError(f"the queries have the shape {queries.shape}; expected [n {vectors.shape[1]}]")
    if k < 1:
        raise EvaluationError(f"k is {k}; expected at least 1")
    vectors, unit = np.asarray(vectors), unit_rows(queries)
    found = [
        _nearest(unit[first : first + QUERIES_AT_ONCE], vectors, k) for first in range(0, len(unit), QUERIES_AT_ONCE)
    ]
    if not found:
        return np.empty((0, min(k, len(vectors))), np.float32), np.empty((0, min(k, len(vectors))), np.int64)
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])


def _nearest(
    queries: Float[np.ndarray, "n d"], vectors: Float[np.ndarray, "m d"], k: int
) -> tuple[np.ndarray, np.ndarray]:
    best = _Best(queries, vectors, min(k, len(vectors)))
    at_once = ROWS_FOR_FEW if len(queries) <= FEW_QUERIES else ROWS_AT_ONCE
    for rows, dots in product_blocks(queries, vectors, at_once):
        best.add(dots, rows.start)
    best.sort_in()
    return best.similarity.astype(np.float32), best.rows


class _Best:
    """The k best rows of each query so far, and candidates not sorted in yet."""

    def __init__(self, queries: np.ndarray, vectors: np.ndarray, k: int):
        self._queries, self._vectors, self._k, self._slack = queries, vectors, k, slack(vectors.shape[1])
        self.similarity = np.empty((len(queries), 0))
        self.rows = np.empty((len(queries), 0), np.int64)
        self._least = np.full(len(queries), -np.inf)  # of the k-th best
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, dots: Float[np.ndarray, "n m"], first: int) -> None:
        """Put aside what may be among the best k."""
        near = np.flatnonzero(dots.max(1) >= self._bound(self._least))
        if not len(near):
            return
        dots, least = dots[near], self._least[near]
        may = dots >= self._bound(least)[:, None]
        crowded = np.flatnonzero(may.sum(1) > 4 * self._k + 64)
        if len(crowded) and dots.shape[1] > self._k:
            kth = np.partition(dots[crowded], -self._k, axis=1)[:, -self._k]
            least[crowded] = np.maximum(least[crowded], kth - self._slack)
            may[crowded] = dots[crowded] >= self._bound(least[crowded])[:, None]
        query, row = np.divmod(np.flatnonzero(may), dots.shape[1])  # ten times as quick as nonzero
        query = near[query]
        self._pending.append((query, row + first))
        if sum(len(one) for one, _ in self._pending) >= max(PENDING, self.rows.size) or self.rows.size == 0:
            self.sort_in()

    def _bound(self, least: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """What a quick product must reach."""
        return (least - self._slack).astype(np.float32)

    def sort_in(self) -> None:
        """Compare the candidates in float64, and keep the best."""
        if not self._pending:
            return
        query, row = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        similarity = exact_dots(self._queries, self._vectors, (query, row))
        kept = self.rows.shape[1]
        query = np.concatenate([np.repeat(np.arange(len(self._queries)), kept), query])
        similarity, row = (
            np.concatenate([self.similarity.ravel(), similarity]),
            np.concatenate([self.rows.ravel(), row]),
        )
        order = np.lexsort((row, -similarity, query))
        query, similarity, row = query[order], similarity[order], row[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)  # in the query's own order
        width = min(int(np.bincount(query).min()), self._k)
        taken = place < width
        self.similarity = similarity[taken].reshape(-1, width)
        self.rows = row[taken].reshape(-1, width)
        self._pending.clear()
        if width == self._k and width:
            self._least = self.similarity[:, -1]

"""How well vectors find their like: average precision, precision of the ten nearest, and of as many as there are.

All vectors but a query's own group are ranked by cosine similarity, exactly; equally near ones are one step, whichever
is listed first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from samclr.embedding.dots import product_blocks, unit_rows
from samclr.errors import EvaluationError

NEAREST = 10
PRODUCTS_AT_ONCE = 16_000_000  # of queries with all vectors
Like = Callable[[Int[np.ndarray, "b"]], Bool[np.ndarray, "b n"]]


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """Of each query that has a like; queries: [q] their numbers among the vectors.

    Attributes:
        average_precision: mean over its likes of the share of likes among all that are as near or nearer.
        precision_at_10: share of likes among its ten nearest, or all if there are fewer; of equally near ones of which
            some belong to the ten, the mean over all orders.
        r_precision: likewise among its m nearest, where it has m.
    """

    queries: Int[np.ndarray, "q"]
    average_precision: Float[np.ndarray, "q"]
    precision_at_10: Float[np.ndarray, "q"]
    r_precision: Float[np.ndarray, "q"]


def retrieve(vectors: Float[np.ndarray, "n d"], group: Int[np.ndarray, "n"], like: Like) -> Retrieved:
    """Look for each vector's likes among all that are not of its group.

    like: of some queries, by their numbers, which vectors are like them; those of a query's group do not count.

    Raises:
        EvaluationError: a vector is zero or not finite, or no vector has a like.
    """
    unit, found = unit_rows(vectors), []
    alike = _firsts(unit)
    at_once = max(PRODUCTS_AT_ONCE // max(len(unit), 1), 1)
    for first in range(0, len(unit), at_once):
        rows = np.arange(first, min(first + at_once, len(unit)))
        others = group[rows][:, None] != group
        likes = like(rows) & others
        rows, others, likes = (one[likes.any(1)] for one in (rows, others, likes))
        if len(rows):
            dots = np.concatenate([block for _, block in product_blocks(unit[rows], unit)], 1)[:, alike]
            found.append((rows, *_measured(np.where(others, dots, -np.inf), likes, others.sum(1))))
    if not found:
        raise EvaluationError("no object has another of its kind to be found: there is nothing to measure")
    queries, *measures = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Retrieved(
        queries=queries, average_precision=measures[0], precision_at_10=measures[1], r_precision=measures[2]
    )


def _firsts(rows: Float[np.ndarray, "n d"]) -> Int[np.ndarray, "n"]:
    """Of each row the first that equals it: quick products of equal rows may differ in the last digit."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return first[inverse]


def _measured(
    dots: Float[np.ndarray, "b n"], likes: Bool[np.ndarray, "b n"], num_others: Int[np.ndarray, "b"]
) -> tuple[Float[np.ndarray, "b"], Float[np.ndarray, "b"], Float[np.ndarray, "b"]]:
    order = np.argsort(-dots, axis=1, kind="stable")
    right, ordered = (np.take_along_axis(one, order, 1) for one in (likes, dots))
    counts, num, width = np.cumsum(right, 1), right.sum(1), right.shape[1]
    is_last = np.append(ordered[:, 1:] != ordered[:, :-1], np.ones((len(num), 1), bool), 1)  # of equally near ones
    ends = np.minimum.accumulate(np.where(is_last, np.arange(width), width)[:, ::-1], 1)[:, ::-1]
    precision = np.take_along_axis(counts, ends, 1) / (ends + 1)
    average = (precision * right).sum(1) / num
    first_ten = np.minimum(NEAREST, num_others)
    return average, _hits(ordered, counts, first_ten) / first_ten, _hits(ordered, counts, num) / num


def _hits(
    ordered: Float[np.ndarray, "b n"], counts: Int[np.ndarray, "b n"], nearest: Int[np.ndarray, "b"]
) -> Float[np.ndarray, "b"]:
    """Of each query the likes among its `nearest`, the mean over all orders of equally near ones. counts: by place."""
    rows = np.arange(len(nearest))
    at = ordered[rows, nearest - 1][:, None]
    start, stop = (ordered > at).sum(1), (ordered >= at).sum(1)  # of those that are as near as the last
    before = np.where(start > 0, counts[rows, start - 1], 0)
    return before + (nearest - start) * (counts[rows, stop - 1] - before) / (stop - start)

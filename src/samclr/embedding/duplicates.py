"""Groups of near-duplicates: pairs over a threshold by exact search in blocks, joined to groups.

The rule: whatever a chain of pairs over the threshold joins is one group. A group of more than `max_group` is not
chained through: it is taken apart from the first of its rows on, each with the rows over the threshold with it alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Int

from samclr.embedding.dots import QuickDots, exact_dots, slack, squared_lengths, widened

ROWS_AT_ONCE = 2048
PAIRS_AT_ONCE = 1_000_000
compiled = numba.njit(nogil=True, cache=True)
Check = Callable[[Int[np.ndarray, "p"], Int[np.ndarray, "p"]], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What near-duplicates there are.

    Attributes:
        group: [n] number of each row's group, -1 for a row without a near-duplicate; groups in the order of the rows
            that they keep.
        kept: [g] the row that each group keeps: the first in the order that was asked for.
        num_split: groups that were larger than `max_group`, and so not chained through.
    """

    group: Int[np.ndarray, "n"]
    kept: Int[np.ndarray, "g"]
    num_split: int

    def left_out(self) -> Int[np.ndarray, "m"]:
        """Rows of groups that are not kept, in their order."""
        out = self.group >= 0
        out[self.kept] = False
        return np.flatnonzero(out)


def find_groups(
    vectors: Float[np.ndarray, "n d"],
    threshold: float,
    *,
    order: Int[np.ndarray, "n"] | None = None,
    max_group: int = 100,
    check: Check | None = None,
) -> Groups:
    """Groups of rows of unit length whose similarity is at least `threshold`, by the rule above.

    order: all rows, those first that a group would rather keep; by default as they lie.
    check: of pairs over the threshold, as two arrays of rows, tells which are near-duplicates; by default all.

    Raises:
        PartsError: a row is found that is not of unit length.
    """
    vectors = np.asarray(vectors)
    order = np.arange(len(vectors)) if order is None else np.asarray(order)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    parents = np.arange(len(vectors))
    for first, second, _ in pairs_over(vectors, threshold, lambda first, second: _are_apart(parents, first, second)):
        good = np.ones(len(first), bool) if check is None else check(first, second)
        _join(parents, first[good], second[good])
    roots = _roots(parents)
    leader = np.full(len(vectors), -1)
    num_split = 0
    for members in _members(roots):
        members = members[np.argsort(rank[members])]
        if len(members) <= max_group:
            leader[members] = members[0]
        else:
            num_split += 1
            leader[members] = _taken_apart(vectors, members, threshold, check)
    return _numbered(leader, rank, num_split)


def pairs_over(
    vectors: Float[np.ndarray, "n d"], threshold: float, wanted: Check | None = None
) -> Iterator[tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"], Float[np.ndarray, "p"]]]:
    """Every pair of rows of at least this similarity, the lower row first, with it; at most about a million at a time.

    wanted: tells of two arrays of rows which pairs are to be looked at; by default all.

    Raises:
        PartsError: a row is found that is not of unit length.
    """
    vectors = np.asarray(vectors)
    squared_lengths(vectors)
    for top in range(0, len(vectors), ROWS_AT_ONCE):
        upper = widened(vectors[top : top + ROWS_AT_ONCE])
        for left in range(top, len(vectors), ROWS_AT_ONCE):
            dots = upper @ widened(vectors[left : left + ROWS_AT_ONCE]).T
            found = np.flatnonzero(dots >= np.float32(threshold - slack(vectors.shape[1])))
            for start in range(0, len(found), PAIRS_AT_ONCE):
                first, second = np.divmod(found[start : start + PAIRS_AT_ONCE], dots.shape[1])
                first, second = first + top, second + left
                looked_at = first < second
                if wanted is not None:
                    looked_at &= wanted(first, second)
                first, second = first[looked_at], second[looked_at]
                similarity = exact_dots(vectors, vectors, (first, second))
                over = similarity >= threshold
                if over.any():
                    yield first[over], second[over], similarity[over]


def _taken_apart(
    vectors: Float[np.ndarray, "n d"], members: Int[np.ndarray, "m"], threshold: float, check: Check | None
) -> Int[np.ndarray, "m"]:
    """The row that each member of too large a group goes with: the first not taken takes what it pairs with."""
    leader = np.full(len(members), -1)
    for place, row in enumerate(members):
        if leader[place] >= 0:
            continue
        leader[place] = row
        free = np.flatnonzero(leader < 0)
        for some in np.array_split(free, -(-len(free) // ROWS_AT_ONCE) or 1):
            dots = QuickDots(widened(vectors[[row]]))(vectors[members[some]])[0]
            near = some[dots >= np.float32(threshold - slack(vectors.shape[1]))]
            one = np.full(len(near), row)
            good = exact_dots(vectors, vectors, (one, members[near])) >= threshold
            if check is not None:
                good[good] = check(one[good], members[near[good]])
            leader[near[good]] = row
    return leader


def _members(roots: Int[np.ndarray, "n"]) -> Iterator[Int[np.ndarray, "m"]]:
    """The rows of each root that has several."""
    by_root = np.argsort(roots, kind="stable")
    cuts = np.flatnonzero(np.diff(roots[by_root])) + 1
    return (part for part in np.split(by_root, cuts) if len(part) > 1)


def _numbered(leader: Int[np.ndarray, "n"], rank: Int[np.ndarray, "n"], num_split: int) -> Groups:
    """Groups of several rows alone, numbered in the order of those that they keep."""
    rows, sizes = np.unique(leader[leader >= 0], return_counts=True)
    kept = rows[sizes > 1]
    kept = kept[np.argsort(rank[kept])]
    number = np.full(len(leader), -1)
    number[kept] = np.arange(len(kept))
    group = np.where(leader >= 0, number[leader], -1)
    return Groups(group=group, kept=kept, num_split=num_split)


@compiled
def _root(parents, row):  # type: ignore[no-untyped-def]
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@compiled
def _join(parents, first, second):  # type: ignore[no-untyped-def]
    """Join the trees of each pair under the lower root."""
    for pair in range(len(first)):
        one, other = _root(parents, first[pair]), _root(parents, second[pair])
        if one < other:
            parents[other] = one
        else:
            parents[one] = other


@compiled
def _are_apart(parents, first, second):  # type: ignore[no-untyped-def]
    """Of each pair, whether it stands in two trees."""
    found = np.empty(len(first), np.bool_)
    for pair in range(len(first)):
        found[pair] = _root(parents, first[pair]) != _root(parents, second[pair])
    return found


@compiled
def _roots(parents):  # type: ignore[no-untyped-def]
    found = np.empty_like(parents)
    for row in range(len(parents)):
        found[row] = _root(parents, row)
    return found

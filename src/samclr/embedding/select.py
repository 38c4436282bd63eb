"""A diverse subset of images, by their vectors or by those of their objects."""

import numpy as np
from jaxtyping import Float, Int

import samclr.draws as draws
from samclr.embedding.dots import product_blocks, slack, squared_lengths, widened
from samclr.errors import UsageError

BLOCK_NUMBERS = 16_000_000  # products held at a time
AT_ONCE = 64  # sets whose gain is looked at together


class Sets:
    """Rows that belong together: of each image one vector, or those of its objects.

    Attributes:
        num: how many sets there are, numbered in the order of their first row.
        of_row: [n] the set of each row.
        rows: [n] rows in the order of their sets; those of set s are rows[start[s] : start[s + 1]].
    """

    def __init__(self, keys: Int[np.ndarray, "n"]):
        """keys: a number for each row, equal where rows belong together."""
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        place = np.empty(len(first), np.int64)
        place[np.argsort(first)] = np.arange(len(first))
        self.of_row = place[inverse]
        self.num = len(first)
        self.rows = np.argsort(self.of_row, kind="stable")
        self.start = np.concatenate([[0], np.cumsum(np.bincount(self.of_row, minlength=self.num))]).astype(np.int64)

    def __getitem__(self, number: int) -> Int[np.ndarray, "m"]:
        return self.rows[self.start[number] : self.start[number + 1]]


def spread(vectors: Float[np.ndarray, "n d"], sets: Sets, num: int, seed: int) -> list[int]:
    """`num` sets far from each other, as k-means++ begins (Arthur and Vassilvitskii, "k-means++: the advantages of
    careful seeding", SODA 2007): a row is drawn by its squared distance to the nearest row chosen, and brings its set.

    Sets that are like those chosen already come last, in their order. Raises as `covering`.
    """
    vectors = _checked(vectors, sets, num)
    lengths = squared_lengths(vectors)
    far = np.ones(len(vectors))
    chosen: list[int] = []
    is_chosen = np.zeros(sets.num, bool)
    for turn in range(num):
        total = np.cumsum(far)
        if len(total) and total[-1] > 0:
            drawn = draws.uniforms(seed, draws.STREAM_SELECT, turn, 0, 1)[0, 0]
            one = int(sets.of_row[min(np.searchsorted(total, drawn * total[-1], side="right"), len(total) - 1)])
        else:
            one = int(np.flatnonzero(~is_chosen)[0])
        chosen.append(one)
        is_chosen[one] = True
        far = np.minimum(far, 4.0) if turn else np.full(len(vectors), 4.0)
        for rows in np.array_split(sets[one], -(-len(sets[one]) // AT_ONCE)):
            for part, near in product_blocks(widened(vectors[rows]), vectors):
                distance = lengths[rows][:, None] + lengths[None, part] - 2.0 * near
                far[part] = np.minimum(far[part], distance.min(0))
        far[far < 2 * slack(vectors.shape[1])] = 0.0
        far[is_chosen[sets.of_row]] = 0.0
    return chosen


def covering(vectors: Float[np.ndarray, "n d"], sets: Sets, num: int) -> list[int]:
    """`num` sets that stand for all: each in turn raises the most the sum, over all rows, of the similarity to the
    nearest row chosen (facility location; Nemhauser, Wolsey and Fisher, "An analysis of approximations for maximizing
    submodular set functions", 1978: at least 63 % of the best). The lower set where equal.

    Gains only fall, so that those computed before bound those of now (Minoux, "Accelerated greedy algorithms", 1978).

    Raises:
        UsageError: there are fewer sets. PartsError: a row is not of unit length.
    """
    vectors = _checked(vectors, sets, num)
    best = np.full(len(vectors), -1.0, np.float32)
    bound = np.full(sets.num, np.inf)
    fresh = np.full(sets.num, -1)  # the turn that a bound is of
    chosen: list[int] = []
    for turn in range(num):
        while True:
            order = np.argsort(-bound, kind="stable")[:AT_ONCE]
            if fresh[order[0]] == turn:
                break
            stale = order[fresh[order] < turn]
            bound[stale] = _gains(vectors, sets, stale, best)
            fresh[stale] = turn
        one = int(order[0])
        chosen.append(one)
        bound[one] = -np.inf
        for rows in np.array_split(sets[one], -(-len(sets[one]) // AT_ONCE)):
            for part, near in product_blocks(widened(vectors[rows]), vectors):
                best[part] = np.maximum(best[part], near.max(0))
    return chosen


def _gains(
    vectors: Float[np.ndarray, "n d"], sets: Sets, numbers: Int[np.ndarray, "s"], best: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "s"]:
    """By how much each set would raise the sum of similarities to the nearest."""
    rows = np.concatenate([sets[number] for number in numbers])
    cuts = np.cumsum([0, *(len(sets[number]) for number in numbers[:-1])])
    gains = np.zeros(len(numbers))
    for part, dots in product_blocks(widened(vectors[rows]), vectors, min(max(BLOCK_NUMBERS // len(rows), 1), 8192)):
        near = np.maximum.reduceat(dots, cuts, axis=0)
        gains += np.maximum(near - best[part], 0).sum(1, dtype=np.float64)
    return gains


def _checked(vectors: Float[np.ndarray, "n d"], sets: Sets, num: int) -> Float[np.ndarray, "n d"]:
    if num > sets.num:
        raise UsageError(f"{num} images are asked for; there are {sets.num} with a vector")
    return np.asarray(vectors)

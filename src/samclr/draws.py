"""Counter-based random numbers: each is a pure function of (seed, stream, major, minor, column).

Philox 4x32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), over
whole arrays of counters at once. No generator has a state, so nothing needs saving and any number can be
drawn in any order, on any rank.
"""

import numpy as np
from jaxtyping import Float, Int, UInt64
from numpy.typing import ArrayLike

STREAM_ORDER, STREAM_REGION, STREAM_MIX, STREAM_PLACE, STREAM_SHUFFLE, STREAM_CARRIED = 0, 1, 2, 3, 4, 5
STREAM_LAYERS, STREAM_SELECT, STREAM_FLIP = 7, 8, 9
STREAM_CROP, STREAM_COLOUR, STREAM_BACKGROUND = 64, 128, 192  # plus the view group's number
STREAM_MASK = 6  # of patches

CHUNK = 65_536  # rows whose numbers are made at a time
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


def philox(counter: UInt64[np.ndarray, "n 4"], key: tuple[int, int]) -> UInt64[np.ndarray, "n 4"]:
    """Philox4x32-10 of n counters of four 32-bit words."""
    c0, c1, c2, c3 = (counter[:, word] & _WORD for word in range(4))
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(10):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ k0,
            product1 & _WORD,
            (product0 >> _HALF) ^ c3 ^ k1,
            product0 & _WORD,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return np.stack([c0, c1, c2, c3], 1)


def uniforms(
    seed: int, stream: int, major: ArrayLike, minor: ArrayLike, num_columns: int, first_block: int = 0
) -> Float[np.ndarray, "n num_columns"]:
    """Numbers in (0, 1), a row for each of n pairs (major, minor), which broadcast against each other.

    Four columns are a block; `first_block` jumps over what other callers drew from the same row.
    """
    major_, minor_ = np.broadcast_arrays(np.atleast_1d(major), np.atleast_1d(minor))
    blocks = -(-num_columns // 4)
    counter = np.empty((len(major_), blocks, 4), np.uint64)
    counter[..., 0] = np.arange(first_block, first_block + blocks)
    counter[..., 1] = minor_[:, None]
    counter[..., 2] = major_[:, None]
    counter[..., 3] = stream
    words = philox(counter.reshape(-1, 4), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    numbers = (words.astype(np.float64) + 0.5) / 2.0**32
    return numbers.reshape(len(major_), blocks * 4)[:, :num_columns]


def epoch_order(seed: int, epoch: int, num_images: int) -> Int[np.ndarray, "n"]:
    """The permutation of all images that one epoch follows."""
    numbers = np.empty(num_images)
    for first in range(0, num_images, CHUNK):
        rows = np.arange(first, min(first + CHUNK, num_images))
        numbers[rows] = uniforms(seed, STREAM_ORDER, epoch, rows, 1)[:, 0]
    return np.argsort(numbers, kind="stable").astype(np.int32 if num_images < 2**31 else np.int64)


def seeded_subset(seed: int, num_images: int, num: int | None) -> list[int]:
    """Numbers of some of the images, in their order, the same in every run; all where `num` is None or larger."""
    if num is None or num >= num_images:
        return list(range(num_images))
    return sorted(epoch_order(seed, 0, num_images)[:num].tolist())


def shuffled(seed: int, step: int, count: int) -> Int[np.ndarray, "count"]:
    """A permutation that belongs to a step."""
    return np.argsort(uniforms(seed, STREAM_SHUFFLE, step, np.arange(count), 1)[:, 0], kind="stable")


def layers_seed(seed: int, step: int, rank: int) -> int:
    """What a step's random layers (dropout, drop path) are seeded with on a rank."""
    high, low = (uniforms(seed, STREAM_LAYERS, step, rank, 2)[0] * 2**32).astype(np.uint64)
    return int(high) << 32 | int(low)


def without_replacement(numbers: Float[np.ndarray, "n k"], pool: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n k"]:
    """In each row, k of the first `pool` whole numbers, none twice (Floyd's method, all rows at once); pool >= k."""
    per_row = numbers.shape[1]
    chosen = np.empty(numbers.shape, np.int64)
    for turn in range(per_row):
        last = pool - per_row + turn
        pick = (numbers[:, turn] * (last + 1)).astype(np.int64)
        taken = (chosen[:, :turn] == pick[:, None]).any(1)
        chosen[:, turn] = np.where(taken, last, pick)
    return chosen

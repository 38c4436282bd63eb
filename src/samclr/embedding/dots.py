"""Products of vectors with the rows of an array of float16 or float32, quick and then exact.

The quick product reads an array as it lies: float16 is widened in registers, or in a buffer of a block's size. Its
rounding depends on place and compiler; the exact one, in float64, does not, and decides.
"""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from jaxtyping import Float, Int

from samclr.errors import EvaluationError, PartsError
from samclr.processes.threads import num_threads

SIGN, MAGNITUDE = np.uint32(0x8000), np.uint32(0x7FFF)
TO_SIGN, TO_EXPONENT = np.uint32(16), np.uint32(13)  # shifts from a float16's places to a float32's
BIAS = np.float32(2.0**112)  # between their exponents: makes numbers under the smallest normal float16 right, too
FEW_QUERIES = 4  # that many a kernel reads the rows for; more are worth a matrix product
EXACT_BYTES = 32_000_000  # of rows in float64 at a time
WIDEST_UNIT = 1.01  # length of a row that was of unit length before it was rounded
compiled = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")


@compiled
def _dot_rows(rows, query, out):  # type: ignore[no-untyped-def]
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for column in range(rows.shape[1]):
            total += rows[row, column] * query[column]
        out[row] = total


@compiled
def _dot_half_rows(rows, query, out):  # type: ignore[no-untyped-def]
    """As `_dot_rows`, of the bits of float16; `query` is times BIAS."""
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for column in range(rows.shape[1]):
            bits = np.uint32(rows[row, column])
            wide = ((bits & SIGN) << TO_SIGN) | ((bits & MAGNITUDE) << TO_EXPONENT)
            total += np.uint32(wide).view(np.float32) * query[column]
        out[row] = total


@compiled
def _widen(rows, out):  # type: ignore[no-untyped-def]
    """The bits of float16 as float32; 20 times as quick as numpy's astype."""
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            bits = np.uint32(rows[row, column])
            wide = ((bits & SIGN) << TO_SIGN) | ((bits & MAGNITUDE) << TO_EXPONENT)
            out[row, column] = np.uint32(wide).view(np.float32) * BIAS


def widened(rows: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m d"]:
    """Rows as float32: themselves, where they are."""
    if rows.dtype == np.float32:
        return rows
    wide = np.empty(rows.shape, np.float32)
    _widen(rows.view(np.uint16), wide)
    return wide


class QuickDots:
    """Products of fixed queries [n d] with block after block of rows, in float32, by all threads."""

    def __init__(self, queries: Float[np.ndarray, "n d"]):
        self._queries = np.ascontiguousarray(queries, np.float32)
        self._threads = num_threads()  # as BLAS has it
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 and len(queries) <= FEW_QUERIES else None

    def __call__(self, rows: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
        """Products [n m] of the queries with the rows."""
        if len(self._queries) > FEW_QUERIES:
            return self._queries @ widened(rows).T
        out = np.empty((len(self._queries), len(rows)), np.float32)
        cuts = [len(rows) * part // self._threads for part in range(self._threads + 1)]
        slices = [slice(first, last) for first, last in itertools.pairwise(cuts)]
        list((self._pool.map if self._pool else map)(lambda part: self._few(rows[part], out[:, part]), slices))
        return out

    def _few(self, rows: np.ndarray, out: np.ndarray) -> None:
        for query, places in zip(self._queries, out, strict=True):
            if rows.dtype == np.float16:
                _dot_half_rows(rows.view(np.uint16), query * BIAS, places)
            else:
                _dot_rows(rows, query, places)


def product_blocks(
    queries: Float[np.ndarray, "n d"], vectors: Float[np.ndarray, "m d"], at_once: int = 8192
) -> Iterator[tuple[slice, Float[np.ndarray, "n b"]]]:
    """Quick products of the queries with all rows, some at a time, and which. Raises PartsError as `refuse_odd`."""
    quick = QuickDots(queries)
    for first in range(0, len(vectors), at_once):
        dots = quick(vectors[first : first + at_once])
        refuse_odd(dots, first)
        yield slice(first, first + dots.shape[1]), dots


def slack(width: int) -> float:
    """By how much a quick product of unit vectors may be off: the bound for any order of summing."""
    return 4.0 * (width + 2) * 2.0**-24


def exact_dots(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"], pairs: tuple[Int[np.ndarray, "p"], ...]
) -> Float[np.ndarray, "p"]:
    """Products of pairs (row of first, row of second), in float64: equal rows have equal products."""
    at_once = max(EXACT_BYTES // (8 * max(first.shape[1], 1)), 1)
    found = np.empty(len(pairs[0]))
    for start in range(0, len(found), at_once):
        one, other = (rows[start : start + at_once] for rows in pairs)
        found[start : start + at_once] = (first[one].astype(np.float64) * second[other].astype(np.float64)).sum(1)
    return found


def unit_rows(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of unit length, in float32. Raises EvaluationError for a row that is not finite or zero."""
    wide = np.asarray(vectors, np.float64)
    largest = np.abs(wide).max(1, initial=0.0, keepdims=True)
    for row, top in enumerate(largest[:, 0]):
        if not np.isfinite(top) or top == 0:
            raise EvaluationError(
                f"vector {row} {'is all zeros' if top == 0 else 'is not finite'}, and has no direction"
            )
    wide = wide / largest
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def refuse_odd(dots: Float[np.ndarray, "n m"], first: int) -> None:
    """Raise PartsError if a product with a unit vector tells that a row is not finite, or longer than one."""
    if not (dots.max(initial=0.0) <= WIDEST_UNIT and dots.min(initial=0.0) >= -WIDEST_UNIT):
        row = first + int(np.flatnonzero(~(np.abs(dots) <= WIDEST_UNIT).all(0))[0])
        raise PartsError(f"row {row} is not a vector of unit length; the file is damaged, or was not made by samclr")


def squared_lengths(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n"]:
    """Of each row, 1 but for the rounding of its type. Raises PartsError where it is more."""
    lengths = np.empty(len(vectors))
    for first in range(0, len(vectors), 8192):
        wide = widened(vectors[first : first + 8192])
        lengths[first : first + 8192] = np.einsum("nd,nd->n", wide, wide)
    refuse_odd(lengths[None], 0)
    return lengths

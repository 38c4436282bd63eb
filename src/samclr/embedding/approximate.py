"""Search through an index of Faiss, for tens of millions of vectors: built once and kept beside them.

An inverted file of float16 (IVF): rows are put to the nearest of some thousand centres, and a search looks at those of
the centres nearest to the query alone. What it finds is compared exactly, so similarities are right and what is found
is in the right order; a neighbour may be missed. docs/guides/search.md states how many are.
"""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from samclr.embedding.dots import exact_dots, unit_rows, widened
from samclr.embedding.mapped import Kind
from samclr.embedding.vectors import Vectors
from samclr.errors import UsageError
from samclr.log import option_of, tell
from samclr.storage.files import replacing_path

ROWS_PER_CENTRE = 64  # that the centres are found by
LOOKED_AT = 1 / 16  # share of the centres whose rows a search looks at
MORE = 4  # times k candidates, of which the exact comparison takes k
ROWS_AT_ONCE = 65_536
SUFFIX = "ivf.faiss"


def nearest_by_index(
    vectors: Vectors, queries: Float[np.ndarray, "n d"], k: int, kind: Kind
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """As Vectors.search, but that a neighbour may be missed; row -1 and similarity -inf where fewer than k are found.

    Raises:
        UsageError: Faiss is not installed. EvaluationError: a query has no direction.
    """
    _faiss()
    matrix = vectors.matrix(kind)
    path = vectors._made(f"{kind}.{SUFFIX}", lambda _, order, place: build_index(matrix, place), is_sealed=False)
    return nearest_in_index(path, matrix, queries, k)


def nearest_in_index(
    path: Path, matrix: Float[np.ndarray, "m d"], queries: Float[np.ndarray, "n d"], k: int
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Likewise of an index that `build_index` made of `matrix`.

    Raises:
        UsageError: Faiss is not installed. EvaluationError: a query has no direction.
    """
    faiss, unit = _faiss(), unit_rows(queries)
    k = min(k, len(matrix))
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    index.nprobe = max(math.ceil(index.nlist * LOOKED_AT), min(index.nlist, 8))
    _, candidates = index.search(unit, min(MORE * k, len(matrix)))
    similarity = np.full(candidates.shape, -np.inf)
    found = candidates >= 0
    query, place = np.nonzero(found)
    similarity[query, place] = exact_dots(unit, matrix, (query, candidates[query, place]))
    order = np.lexsort((candidates, -similarity), axis=1)[:, :k]
    return (
        np.take_along_axis(similarity, order, 1).astype(np.float32),
        np.take_along_axis(candidates, order, 1).astype(np.int64),
    )


def build_index(matrix: Float[np.ndarray, "n d"], path: Path) -> None:
    """Write an index of rows of unit length. Raises UsageError if Faiss is not installed."""
    faiss, (num, width) = _faiss(), matrix.shape
    num_centres = max(min(round(4 * math.sqrt(num)), num // 39), 1)
    tell(f"building an index of {num:,} vectors with {num_centres:,} centres")
    index = faiss.index_factory(width, f"IVF{num_centres},SQfp16", faiss.METRIC_INNER_PRODUCT)
    sample = np.unique(np.linspace(0, num - 1, min(num, ROWS_PER_CENTRE * num_centres)).astype(np.int64))
    index.train(widened(np.ascontiguousarray(matrix[sample])))
    for first in range(0, num, ROWS_AT_ONCE):
        index.add(widened(np.ascontiguousarray(matrix[first : first + ROWS_AT_ONCE])))
    with replacing_path(path) as beside:
        faiss.write_index(index, str(beside))


def _faiss() -> Any:
    if importlib.util.find_spec("faiss") is None:
        raise UsageError(f"{option_of('index')} faiss needs a package: pip install 'samclr[faiss]'")
    import faiss

    return faiss

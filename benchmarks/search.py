"""Exact search beside torch's products over the same array: one query, and a batch.

    OMP_NUM_THREADS=1 python benchmarks/search.py [--rows 1000000] [--width 512]
    python benchmarks/search.py --recall VECTORS
    OMP_NUM_THREADS=1 python benchmarks/search.py --faiss 1000000 5000000 [--width 256]

The second line tells what --index faiss misses of a folder's regions: each seventh is searched by, the ten nearest.
The third does so of that many generated vectors in float16, with times: objects in families of about fifty that are
alike, of a thousand kinds; and vectors without any structure, the hardest that there is. 500 more are searched by.

The array lies in a file and is mapped, as a folder of vectors is. torch's product reads the same map; for float16 it is
that of float16, which reads half of the bytes. Each time is the least of several, taken in turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import torch

import samclr
from samclr.embedding.approximate import build_index, nearest_by_index, nearest_in_index
from samclr.embedding.dots import widened
from samclr.embedding.search import ROWS_AT_ONCE, nearest_rows

K, BATCH, TURNS, BAR = 10, 256, 7, 1.2
KINDS, FAMILY, QUERIES = 1000, 50, 500


def write_rows(path: Path, rows: int, width: int, kind: type) -> np.ndarray:
    out = np.lib.format.open_memmap(path, "w+", kind, (rows, width))
    random = np.random.default_rng(0)
    for first in range(0, rows, 50_000):
        part = random.standard_normal((min(50_000, rows - first), width), np.float32)
        out[first : first + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    out.flush()
    return np.load(path, mmap_mode="c")


def least_s(calls: Sequence[Callable[[], object]], turns: int) -> list[float]:
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(turns + 1):
        for place, call in zip(found, calls, strict=True):
            start = time.perf_counter()
            call()
            place.append(time.perf_counter() - start)
    return [min(times[1:]) for times in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--recall", type=Path)
    parser.add_argument("--faiss", type=int, nargs="+", metavar="ROWS")
    arguments = parser.parse_args()
    if arguments.recall is not None:
        recall(samclr.open_vectors(arguments.recall))
        return
    if arguments.faiss is not None:
        for rows in arguments.faiss:
            for alike in (True, False):
                with tempfile.TemporaryDirectory() as folder:
                    against_exact(Path(folder), rows, arguments.width, alike)
        return
    for kind in (np.float32, np.float16):
        with tempfile.TemporaryDirectory() as folder:
            compare(write_rows(Path(folder) / "rows.npy", arguments.rows, arguments.width, kind))


def compare(vectors: np.ndarray) -> None:
    queries = np.random.default_rng(1).standard_normal((BATCH, vectors.shape[1])).astype(np.float32)
    rows, of = torch.from_numpy(np.asarray(vectors)), f"{vectors.dtype} {vectors.shape}"
    one, several = torch.from_numpy(queries[0]).to(rows.dtype), torch.from_numpy(queries)

    def products() -> None:
        for first in range(0, len(vectors), ROWS_AT_ONCE):  # the answer of a single product would not fit
            several @ torch.from_numpy(widened(np.asarray(vectors[first : first + ROWS_AT_ONCE]))).T

    torch_s, ours_s = least_s([lambda: rows @ one, lambda: nearest_rows(queries[:1], vectors, K)], TURNS)
    print(
        f"{of}, one query: torch's product {torch_s * 1e3:.1f} ms, search {ours_s * 1e3:.1f} ms: "
        f"{ours_s / torch_s:.2f} times (bar {BAR})"
    )
    before = psutil.Process().memory_info()
    torch_s, ours_s = least_s([products, lambda: nearest_rows(queries, vectors, K)], 2)
    after = psutil.Process().memory_info()
    own = after.rss - after.shared - before.rss + before.shared
    print(
        f"{of}, {BATCH} queries: torch's products {torch_s:.2f} s, search {ours_s:.2f} s: "
        f"{ours_s / torch_s:.2f} times; {own / 1e6:.0f} MB more memory, without the map"
    )


def recall(vectors: samclr.Vectors) -> None:
    queries = vectors.matrix("region")[::7].astype(np.float32)
    exact, found = vectors.search(queries, K, "region")[1], nearest_by_index(vectors, queries, K, "region")[1]
    share = found_share(exact, found)
    print(f"{len(queries):,} of {len(vectors.rows('region')):,} regions: {share:.1%} of the {K} nearest are found")


def found_share(exact: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean([len({*one} & {*other}) / K for one, other in zip(exact, found, strict=True)]))


class Generated:
    """Vectors of unit length: alike ones in families of kinds, or without structure."""

    def __init__(self, rows: int, width: int, alike: bool):
        self.width, self.alike = width, alike
        self.random = np.random.default_rng(0)
        kinds = self.random.standard_normal((KINDS, width), np.float32)
        families = max(rows // FAMILY, 1) if alike else 1
        self.families = self.random.standard_normal((families, width), np.float32)
        self.families += kinds[self.random.integers(KINDS, size=families)]

    def __call__(self, num: int) -> np.ndarray:
        found = self.random.standard_normal((num, self.width), np.float32)
        if self.alike:
            found += self.families[self.random.integers(len(self.families), size=num)]
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def against_exact(folder: Path, rows: int, width: int, alike: bool) -> None:
    generated, at_once = Generated(rows, width, alike), 50_000
    out = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float16, (rows, width))
    for first in range(0, rows, at_once):
        out[first : first + at_once] = generated(min(at_once, rows - first))
    out.flush()
    del out
    matrix, queries, index = np.load(folder / "rows.npy", mmap_mode="r"), generated(QUERIES), folder / "index"
    start = time.perf_counter()
    build_index(matrix, index)
    built_s = time.perf_counter() - start
    exact, found = nearest_rows(queries, matrix, K)[1], nearest_in_index(index, matrix, queries, K)[1]
    calls = [lambda: nearest_rows(queries[:1], matrix, K), lambda: nearest_in_index(index, matrix, queries[:1], K)]
    exact_s, index_s = least_s(calls, TURNS)
    print(
        f"{rows:,} {'families of kinds' if alike else 'without structure'}, width {width}: built in {built_s:,.0f} s, "
        f"{index.stat().st_size / 1e9:.2f} GB; one query {exact_s * 1e3:,.0f} ms by exact search, {index_s * 1e3:,.0f} "
        f"ms by the index; {found_share(exact, found):.1%} of the {K} nearest to {QUERIES} are found",
        flush=True,
    )


if __name__ == "__main__":
    main()

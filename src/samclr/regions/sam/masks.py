"""From low-resolution logits to scores, boxes and run lengths at the image's own size.

The reference enlarges every mask to full size, in one or two bilinear steps, before it measures anything. Both steps
are linear and separable, so here they are one small operator per axis (three taps), and a compiled kernel walks the
part of a mask where logits are not surely negative. No full-size mask is stored. On CUDA the same operators are two
matrix products.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from pycocotools import mask as coco_mask
from torch import Tensor

TAPS = 3
MASK_LOGIT = 0.0  # a pixel belongs to the mask above this


@dataclass(frozen=True)
class Enlarging:
    """How one axis of a low-resolution mask becomes native pixels: pixel i is sum_k weights[i, k] low[first[i] + k]."""

    first: Int[np.ndarray, " native"]
    weights: Float[np.ndarray, "native taps"]
    low_px: int

    @staticmethod
    def of(low_px: int, model_px: int | None, used_px: int, native_px: int) -> "Enlarging":
        """low_px -> model_px, cut to the first used_px, -> native_px; in one step if model_px is None."""
        dense = _bilinear(low_px, native_px)
        if model_px is not None:
            dense = _bilinear(used_px, native_px) @ _bilinear(low_px, model_px)[:used_px]
        first = np.minimum((dense != 0).argmax(1), low_px - TAPS)
        columns = first[:, None] + np.arange(TAPS)
        weights = np.take_along_axis(dense, columns, 1)
        assert np.allclose(weights.sum(1), 1), (
            "more than three taps: the low-resolution mask is finer than the model's image"
        )
        return Enlarging(first.astype(np.int64), weights.astype(np.float32), low_px)

    def dense(self, device: torch.device) -> Float[Tensor, "native low"]:
        """As a matrix."""
        matrix = np.zeros((len(self.first), self.low_px), np.float32)
        np.put_along_axis(matrix, self.first[:, None] + np.arange(TAPS), self.weights, 1)
        return torch.from_numpy(matrix).to(device)


def _bilinear(source_px: int, target_px: int) -> Float[np.ndarray, "target source"]:
    """PyTorch's bilinear interpolation without aligned corners, as a matrix."""
    place = np.maximum((np.arange(target_px) + 0.5) * (source_px / target_px) - 0.5, 0.0)
    low = np.minimum(place.astype(np.int64), source_px - 1)
    high = np.minimum(low + 1, source_px - 1)
    matrix = np.zeros((target_px, source_px))
    rows = np.arange(target_px)
    np.add.at(matrix, (rows, low), 1 - (place - low))
    np.add.at(matrix, (rows, high), place - low)
    return matrix


@dataclass(frozen=True)
class Measured:
    """Masks at native size, in numbers: stability [s], and boxes [s 4] that include their far edge (0 0 0 0: empty)."""

    stability: Float[Tensor, " s"]
    boxes: Int[Tensor, "s 4"]


def measure(
    logits: Float[Tensor, "s h w"],
    rows: Enlarging,
    columns: Enlarging,
    offset: float,
    pool: Executor,
    budget_bytes: int,
) -> Measured:
    """Stability scores (area above +offset by area above -offset, NaN for 0 / 0) and boxes at native size."""
    if logits.device.type == "cpu":
        return _measure_compiled(logits, rows, columns, offset, pool)
    return measure_dense(logits, rows, columns, offset, budget_bytes)


def measure_dense(
    logits: Float[Tensor, "s h w"], rows: Enlarging, columns: Enlarging, offset: float, budget_bytes: int
) -> Measured:
    """The same by matrix products, as CUDA does it, with full-size masks in chunks of at most `budget_bytes`."""
    parts = []
    high, wide = rows.dense(logits.device), columns.dense(logits.device).T.contiguous()
    chunk = max(1, budget_bytes // (len(high) * wide.shape[1] * 4 * 3))
    for part in logits.split(chunk):
        full = high @ part @ wide
        above = (full > MASK_LOGIT + offset).sum((1, 2))
        possible = (full > MASK_LOGIT - offset).sum((1, 2))
        inside = full > MASK_LOGIT
        parts.append((above / possible, _boxes(inside)))
    return Measured(torch.cat([s for s, _ in parts]), torch.cat([b for _, b in parts]))


def _boxes(masks: Tensor) -> Int[Tensor, "s 4"]:
    in_rows, in_columns = masks.any(2), masks.any(1)
    low = [line.to(torch.uint8).argmax(1) for line in (in_columns, in_rows)]
    high = [line.shape[1] - 1 - line.flip(1).to(torch.uint8).argmax(1) for line in (in_columns, in_rows)]
    return torch.stack([*low, *high], 1) * in_rows.any(1, keepdim=True)


def _measure_compiled(logits: Tensor, rows: Enlarging, columns: Enlarging, offset: float, pool: Executor) -> Measured:
    counts = np.zeros((len(logits), 2), np.int64)
    boxes = np.zeros((len(logits), 4), np.int64)
    low = logits.numpy()
    shares = np.array_split(np.arange(len(low)), max(1, min(torch.get_num_threads(), len(low))))

    def work(share: np.ndarray) -> None:
        part = slice(share[0], share[-1] + 1)
        _measure_kernel(
            low[part],
            rows.first,
            rows.weights,
            columns.first,
            columns.weights,
            MASK_LOGIT,
            offset,
            counts[part],
            boxes[part],
        )

    list(pool.map(work, [share for share in shares if len(share)]))
    above, possible = torch.from_numpy(counts).unbind(1)
    return Measured(above / possible, torch.from_numpy(boxes))


def encode_rle(
    logits: Float[np.ndarray, "h w"],
    rows: Enlarging,
    columns: Enlarging,
    offset_xy: tuple[int, int],
    width: int,
    height: int,
) -> tuple[bytes, int]:
    """COCO's compressed run lengths of the mask placed at `offset_xy` in an image of width x height, and its area."""
    kernel = (rows.first, rows.weights, columns.first, columns.weights, MASK_LOGIT, *offset_xy, height, width)
    size = 4096
    counts, used = _runs_kernel(logits, *kernel, size)
    while used > size:
        size = used
        counts, used = _runs_kernel(logits, *kernel, size)
    runs = counts[:used]
    rle = coco_mask.frPyObjects({"counts": runs.tolist(), "size": [height, width]}, height, width)
    return bytes(rle["counts"]), int(runs[1::2].sum())


# ---- kernels ----


@numba.njit(nogil=True, cache=True)
def _support(low, first_y, first_x, floor):  # type: ignore[no-untyped-def]
    """Native rows y0..y1-1 and columns x0..x1-1 outside of which every pixel is at most `floor`."""
    h, w = low.shape
    top, bottom, left, right = h, -1, w, -1
    for r in range(h):
        for c in range(w):
            if low[r, c] > floor:
                top, bottom = min(top, r), max(bottom, r)
                left, right = min(left, c), max(right, c)
    if bottom < 0:
        return 0, 0, 0, 0
    y0, y1 = np.searchsorted(first_y, top - TAPS + 1), np.searchsorted(first_y, bottom + 1)
    x0, x1 = np.searchsorted(first_x, left - TAPS + 1), np.searchsorted(first_x, right + 1)
    return y0, y1, x0, x1


@numba.njit(nogil=True, cache=True, fastmath=True)
def _tall(low, first_y, weights_y, y0, y1, c0, c1, out):  # type: ignore[no-untyped-def]
    """Enlarge the rows only, transposed: out[c - c0, y - y0] for low-resolution columns c0..c1-1."""
    for y in range(y0, y1):
        r = first_y[y]
        a, b, d = weights_y[y, 0], weights_y[y, 1], weights_y[y, 2]
        for c in range(c0, c1):
            out[c - c0, y - y0] = a * low[r, c] + b * low[r + 1, c] + d * low[r + 2, c]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _measure_kernel(logits, first_y, weights_y, first_x, weights_x, level, offset, counts, boxes):  # type: ignore[no-untyped-def]
    rows_px = len(first_y)
    tall = np.empty((logits.shape[2], rows_px), np.float32)
    inside_row = np.empty(rows_px, np.uint8)
    upper, lower, middle = np.float32(level + offset), np.float32(level - offset), np.float32(level)
    for s in range(logits.shape[0]):
        y0, y1, x0, x1 = _support(logits[s], first_y, first_x, min(lower, middle))
        if y1 <= y0 or x1 <= x0:  # nothing, or in the padding alone
            continue
        c0, c1 = first_x[x0], first_x[x1 - 1] + TAPS
        _tall(logits[s], first_y, weights_y, y0, y1, c0, c1, tall)
        n = y1 - y0
        inside_row[:n] = 0
        above = possible = np.int64(0)
        left, right = -1, -1
        for x in range(x0, x1):
            c = first_x[x] - c0
            a, b, d = weights_x[x, 0], weights_x[x, 1], weights_x[x, 2]
            column_above = column_possible = column_inside = np.int32(0)
            for y in range(n):
                value = a * tall[c, y] + b * tall[c + 1, y] + d * tall[c + 2, y]
                column_above += np.int32(value > upper)
                column_possible += np.int32(value > lower)
                inside = np.uint8(value > middle)
                column_inside += np.int32(inside)
                inside_row[y] |= inside
            above += column_above
            possible += column_possible
            if column_inside > 0:
                if left < 0:
                    left = x
                right = x
        counts[s, 0], counts[s, 1] = above, possible
        if left >= 0:
            top, bottom = -1, 0
            for y in range(n):
                if inside_row[y]:
                    if top < 0:
                        top = y
                    bottom = y
            boxes[s, 0], boxes[s, 1], boxes[s, 2], boxes[s, 3] = left, top + y0, right, bottom + y0


@numba.njit(nogil=True, cache=True, fastmath=True)
def _runs_kernel(low, first_y, weights_y, first_x, weights_x, level, shift_x, shift_y, height, width, size):  # type: ignore[no-untyped-def]
    """Run lengths, zeros first, column by column; returns them with the number wanted, which may exceed `size`."""
    counts = np.zeros(size, np.int64)
    middle = np.float32(level)
    y0, y1, x0, x1 = _support(low, first_y, first_x, middle)
    used, run, inside = 0, 0, False
    if y1 > y0 and x1 > x0:
        c0, c1 = first_x[x0], first_x[x1 - 1] + TAPS
        n = y1 - y0
        tall = np.empty((c1 - c0, n), np.float32)
        _tall(low, first_y, weights_y, y0, y1, c0, c1, tall)
        column = np.empty(n, np.uint8)
        run = (shift_x + x0) * height
        for x in range(x0, x1):
            c = first_x[x] - c0
            a, b, d = weights_x[x, 0], weights_x[x, 1], weights_x[x, 2]
            for y in range(n):
                column[y] = a * tall[c, y] + b * tall[c + 1, y] + d * tall[c + 2, y] > middle
            before, after = shift_y + y0, height - shift_y - y1
            if before > 0 and inside:
                if used < size:
                    counts[used] = run
                used, run, inside = used + 1, 0, False
            run += before
            for y in range(n):
                if (column[y] == 1) != inside:
                    if used < size:
                        counts[used] = run
                    used, run, inside = used + 1, 0, not inside
                run += 1
            if after > 0 and inside:
                if used < size:
                    counts[used] = run
                used, run, inside = used + 1, 0, False
            run += after
        run += (width - shift_x - x1) * height if not inside else 0
        if inside and width - shift_x - x1 > 0:
            if used < size:
                counts[used] = run
            used, run = used + 1, (width - shift_x - x1) * height
    else:
        run = width * height
    if used < size:
        counts[used] = run
    return counts, used + 1

"""Compiled work on COCO's compressed run lengths: reading them, and how much of each cell of a box they cover.

Runs go down the columns, one column after the other; the first counts pixels outside the mask, the second those
inside, and so on. A mask need not be decoded to pixels for either.
"""

import numba
import numpy as np

MAX_SHIFT = 45  # bits of a number; more cannot be a run, and sums of runs cannot leave 64 bits


@numba.njit(nogil=True, cache=True)
def read_runs(rle, runs):  # type: ignore[no-untyped-def]
    """Write the runs of rle [n] uint8 to runs [n] int64; returns how many, or -1 if the bytes are malformed.

    COCO's text form: groups of 5 bits, low group first, a sixth bit that says more follow; from the fourth run on, the
    difference to the run before the last one is stored.
    """
    count, position = 0, 0
    while position < len(rle):
        value, shift, more = np.int64(0), 0, True
        while more:
            if position >= len(rle) or shift > MAX_SHIFT or not 48 <= rle[position] < 112:
                return -1
            code = np.int64(rle[position]) - 48
            value |= (code & 0x1F) << shift
            more = (code & 0x20) != 0
            position += 1
            shift += 5
            if not more and code & 0x10:
                value -= np.int64(1) << shift
        if count > 2:
            value += runs[count - 2]
        runs[count] = value
        count += 1
    return count


@numba.njit(nogil=True, cache=True)
def cover_cells(runs, height, x0, y0, x1, y1, covered):  # type: ignore[no-untyped-def]
    """Add to covered [gh gw] float64 the share of each of gh x gw cells of the box that the runs cover."""
    rows, columns = covered.shape
    cells_per_row, cells_per_column = rows / (y1 - y0), columns / (x1 - x0)
    position = 0
    for number in range(len(runs)):
        begin, position = position, position + runs[number]
        if number % 2 == 0:
            continue
        while begin < position:
            x = begin // height
            top, end = begin - x * height, min(position - x * height, height)
            begin = x * height + end
            if x < x0 or x >= x1:
                continue
            low_y, high_y = (max(top, y0) - y0) * cells_per_row, (min(end, y1) - y0) * cells_per_row
            low_x, high_x = (x - x0) * cells_per_column, (x + 1 - x0) * cells_per_column
            for column in range(int(low_x), min(int(np.ceil(high_x)), columns)):
                width = min(high_x, column + 1.0) - max(low_x, float(column))
                for row in range(int(low_y), min(int(np.ceil(high_y)), rows)):
                    covered[row, column] += width * (min(high_y, row + 1.0) - max(low_y, float(row)))

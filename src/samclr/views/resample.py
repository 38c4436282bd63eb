"""The compiled kernel of the crop: antialiased resampling of a fractional box, straight from the memory map.

Each axis is resampled with Pillow's triangle filter, widened by the scale when shrinking. On a lower pyramid level
the filter is narrowed by the blur that the level's own averaging has put in already.
"""

import numba
import numpy as np

AVERAGED = 0.5  # what a level's own averaging takes off a radius squared
MIN_RADIUS = 0.71  # px; under it some output pixel might meet no tap


@numba.njit(nogil=True, cache=True)
def _filter_taps(low, high, limit, size_px, averaged):  # type: ignore[no-untyped-def]
    """First source pixel, number of taps and weights of every output pixel on one axis."""
    scale = (high - low) / size_px
    # Variances add: a box of one pixel (1/12) then a triangle of half-width r (r^2/6) shall have that of the scale.
    radius = max(scale, 1.0)
    if averaged:
        radius = max(np.sqrt(max(radius * radius - AVERAGED, 0.0)), MIN_RADIUS)
    first_allowed, end_allowed = int(np.floor(low)), min(int(np.ceil(high)), limit)
    width = int(np.ceil(radius)) * 2 + 1
    first = np.empty(size_px, np.int64)
    count = np.empty(size_px, np.int64)
    weights = np.zeros((size_px, width), np.float32)
    for i in range(size_px):
        centre = low + (i + 0.5) * scale
        start = max(int(centre - radius + 0.5), first_allowed)
        end = min(int(centre + radius + 0.5), end_allowed)
        if end <= start:
            start = min(max(int(centre), first_allowed), end_allowed - 1)
            end = start + 1
        total = 0.0
        for t in range(end - start):
            weight = max(1.0 - abs(start + t + 0.5 - centre) / radius, 0.0)
            weights[i, t] = weight
            total += weight
        if total <= 0.0:
            weights[i, 0] = 1.0
            total = 1.0
        for t in range(end - start):
            weights[i, t] /= total
        first[i], count[i] = start, end - start
    return first, count, weights


@numba.njit(nogil=True, cache=True, fastmath=True)
def crop_resize(source, x0, y0, x1, y1, averaged, out):  # type: ignore[no-untyped-def]
    """Resample the box (pixels of `source`, [h w 3] uint8) into out [3 s s] uint8.

    `averaged` says that source is a lower pyramid level, whose pixels are means already.
    """
    size_px = out.shape[1]
    first_y, count_y, weights_y = _filter_taps(y0, y1, source.shape[0], size_px, averaged)
    first_x, count_x, weights_x = _filter_taps(x0, x1, source.shape[1], size_px, averaged)
    left = first_x[0]
    right = first_x[size_px - 1] + count_x[size_px - 1]
    line = np.empty((right - left) * 3, np.float32)
    for i in range(size_px):
        for t in range(count_y[i]):
            weight = weights_y[i, t]
            pixels = source[first_y[i] + t, left:right].reshape(-1)
            if t == 0:
                for j in range(line.size):
                    line[j] = weight * pixels[j]
            else:
                for j in range(line.size):
                    line[j] += weight * pixels[j]
        for j in range(size_px):
            red = np.float32(0.5)
            green = np.float32(0.5)
            blue = np.float32(0.5)
            base = (first_x[j] - left) * 3
            for t in range(count_x[j]):
                weight = weights_x[j, t]
                red += weight * line[base]
                green += weight * line[base + 1]
                blue += weight * line[base + 2]
                base += 3
            out[0, i, j] = np.uint8(red)
            out[1, i, j] = np.uint8(green)
            out[2, i, j] = np.uint8(blue)

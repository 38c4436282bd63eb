"""The compiled augmentation of single views for the CPU: a view stays in the cache from its bytes to its floats.

The arithmetic is that of samclr.views.augment, which works on whole batches and on any device.
A view in work is [3 h*w] float32, 0 to 1. Constants are float32, or the compiler would compute in float64.
"""

import numba
import numpy as np

from samclr.views.colours import BLUR_RADIUS_SIGMAS

ZERO, HALF, ONE, TWO, THREE, FOUR, FIVE, SIX = (np.float32(x) for x in (0, 0.5, 1, 2, 3, 4, 5, 6))
BYTE, SIXTH, TINY = np.float32(1 / 255), np.float32(1 / 6), np.float32(1e-20)
GREY_RED, GREY_GREEN, GREY_BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
CHUNK = 2048
compiled = numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")


@compiled
def augment_views(pixels, flip, jitter, order, factors, grey, sigma, solarise, mean, std, out):  # type: ignore[no-untyped-def]
    """Augment n views: pixels [n 3 h w] uint8 -> out [n 3 h w] float32, normalised.

    `order` [n 4]: numbers of the jitter's parts as they come; `factors` [n 4]: by number of the part; other draws [n].
    """
    _, _, height, width = pixels.shape
    view = np.empty((3, height * width), np.float32)
    for number in range(len(pixels)):
        _load(pixels[number], flip[number], view)
        if jitter[number]:
            for turn in range(4):
                part = order[number, turn]
                factor = factors[number, part]
                if part == BRIGHTNESS:
                    _brightness(view, factor)
                elif part == CONTRAST:
                    _contrast(view, factor)
                elif part == SATURATION:
                    _saturation(view, factor)
                else:
                    _hue(view, factor)
        if grey[number]:
            _saturation(view, ZERO)
        if sigma[number] > 0:
            _blur(view, height, width, sigma[number])
        if solarise[number]:
            _solarise(view)
        target = out[number].reshape(3, height * width)
        for c in range(3):
            scale, shift = ONE / std[c], mean[c] / std[c]
            for i in range(height * width):
                target[c, i] = view[c, i] * scale - shift


@compiled
def _load(pixels, flip, view):  # type: ignore[no-untyped-def]
    height, width = pixels.shape[1:]
    last = np.uint64(width - 1)
    for c in range(3):
        for y in range(height):
            source, target = pixels[c, y], view[c, y * width : (y + 1) * width]
            if flip:
                for x in range(width):
                    target[x] = source[last - np.uint64(x)] * BYTE
            else:
                for x in range(width):
                    target[x] = source[x] * BYTE


@compiled
def _clamp(value):  # type: ignore[no-untyped-def]
    return min(max(value, ZERO), ONE)


@compiled
def _grey(red, green, blue):  # type: ignore[no-untyped-def]
    return GREY_RED * red + GREY_GREEN * green + GREY_BLUE * blue


@compiled
def _brightness(view, factor):  # type: ignore[no-untyped-def]
    for c in range(3):
        for i in range(view.shape[1]):
            view[c, i] = _clamp(view[c, i] * factor)


@compiled
def _contrast(view, factor):  # type: ignore[no-untyped-def]
    total = ZERO
    for i in range(view.shape[1]):
        total += _grey(view[0, i], view[1, i], view[2, i])
    rest = (ONE - factor) * total / np.float32(view.shape[1])
    for c in range(3):
        for i in range(view.shape[1]):
            view[c, i] = _clamp(rest + factor * view[c, i])


@compiled
def _saturation(view, factor):  # type: ignore[no-untyped-def]
    for i in range(view.shape[1]):
        red, green, blue = view[0, i], view[1, i], view[2, i]
        rest = (ONE - factor) * _grey(red, green, blue)
        view[0, i] = _clamp(rest + factor * red)
        view[1, i] = _clamp(rest + factor * green)
        view[2, i] = _clamp(rest + factor * blue)


@compiled
def _turned(value, chroma, away):  # type: ignore[no-untyped-def]
    """A channel: the value less the chroma times how far its corner of the colour circle is away, in sixths."""
    away -= SIX * np.floor(away * SIXTH)
    return value - chroma * _clamp(min(away, FOUR - away))


@compiled
def _hue(view, turn):  # type: ignore[no-untyped-def]
    """Turn the hue by a share of the colour circle, in HSV: value and saturation stay."""
    shift = turn * SIX
    for i in range(view.shape[1]):
        red, green, blue = view[0, i], view[1, i], view[2, i]
        value = max(red, max(green, blue))
        chroma = value - min(red, min(green, blue))
        inverse = ONE / max(chroma, TINY)
        sixth = (red - green) * inverse + FOUR
        sixth = (blue - red) * inverse + TWO if value == green else sixth
        sixth = (green - blue) * inverse if value == red else sixth
        sixth += shift
        view[0, i] = _turned(value, chroma, sixth + FIVE)
        view[1, i] = _turned(value, chroma, sixth + THREE)
        view[2, i] = _turned(value, chroma, sixth + ONE)


@compiled
def _solarise(view):  # type: ignore[no-untyped-def]
    for c in range(3):
        for i in range(view.shape[1]):
            view[c, i] = ONE - view[c, i] if view[c, i] >= HALF else view[c, i]


@compiled
def _blur(view, height, width, sigma):  # type: ignore[no-untyped-def]
    """Separable Gaussian, reflected edges; the kernel reaches three sigma, or as far as a reflection can."""
    radius = min(int(np.ceil(BLUR_RADIUS_SIGMAS * sigma)), min(height, width) - 1)
    weights = np.empty(radius + 1, np.float32)
    for t in range(radius + 1):
        weights[t] = np.exp(-HALF * (t / sigma) ** 2)
    weights /= TWO * weights.sum() - weights[0]
    stride = width + 2 * radius
    wide = np.empty(height * stride, np.float32)  # every row with its reflections
    across = np.empty(height * stride - 2 * radius, np.float32)
    high = np.empty((height + 2 * radius) * width, np.float32)
    for c in range(3):
        for y in range(height):
            row, target = view[c, y * width : (y + 1) * width], wide[y * stride : (y + 1) * stride]
            target[radius : radius + width] = row
            for t in range(1, radius + 1):
                target[radius - t] = row[t]
                target[radius + width - 1 + t] = row[width - 1 - t]
        _convolve(wide, 1, weights, across)  # between two rows are sums of both that nobody reads
        for y in range(-radius, height + radius):
            inside = height - 1 - abs(height - 1 - abs(y))
            place = (y + radius) * width
            high[place : place + width] = across[inside * stride : inside * stride + width]
        _convolve(high, width, weights, view[c])


@compiled
def _convolve(values, stride, weights, sums):  # type: ignore[no-untyped-def]
    """sums[i] = sum over t of weights[|t|] * values[i + (t + radius) * stride] for t from -radius to radius.

    Done in chunks that the nearest cache holds, four taps at a time.
    """
    radius = len(weights) - 1
    for first in range(0, len(sums), CHUNK):
        chunk = sums[first : first + CHUNK]
        middle = first + radius * stride
        _times(chunk, weights[0], values[middle:])
        for t in range(1, radius, 2):
            near, far = t * stride, (t + 1) * stride
            _add_fours(
                chunk, weights[t], values[middle - near :], values[middle + near :],
                weights[t + 1], values[middle - far :], values[middle + far :],
            )  # fmt: skip
        if radius % 2:
            reach = radius * stride
            _add_pairs(chunk, weights[radius], values[middle - reach :], values[middle + reach :])


@compiled
def _times(sums, weight, values):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        sums[i] = weight * values[i]


@compiled
def _add_pairs(sums, weight, before, after):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        sums[i] += weight * (before[i] + after[i])


@compiled
def _add_fours(sums, weight, before, after, weight_2, before_2, after_2):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        sums[i] += weight * (before[i] + after[i]) + weight_2 * (before_2[i] + after_2[i])

"""torchvision's RandomResizedCrop as arithmetic on arrays of uniform numbers."""

import numpy as np
from jaxtyping import Bool, Float, Int

NUM_TRIES = 10
NUM_CROP_COLUMNS = 2 * NUM_TRIES + 2


def random_resized_crops(
    window_xyxy: Int[np.ndarray, "n 4"],
    numbers: Float[np.ndarray, "n columns"],
    crop_scale: tuple[float, float],
    crop_ratio: tuple[float, float],
) -> tuple[Int[np.ndarray, "n 4"], Bool[np.ndarray, "n"]]:
    """Draw a crop in each window; also says where all ten tries failed and the central crop was taken.

    Ten tries of (area, aspect), the first that fits wins, then a place; else the largest central crop of
    an allowed aspect. `numbers`: NUM_CROP_COLUMNS uniform columns a window.
    """
    x0, y0, x1, y1 = window_xyxy.T
    window_w, window_h = x1 - x0, y1 - y0
    area = (window_w * window_h)[:, None] * (crop_scale[0] + numbers[:, :NUM_TRIES] * (crop_scale[1] - crop_scale[0]))
    low, high = np.log(crop_ratio[0]), np.log(crop_ratio[1])
    aspect = np.exp(low + numbers[:, NUM_TRIES : 2 * NUM_TRIES] * (high - low))
    tried_w = np.round(np.sqrt(area * aspect)).astype(np.int64)
    tried_h = np.round(np.sqrt(area / aspect)).astype(np.int64)
    fits = (tried_w > 0) & (tried_w <= window_w[:, None]) & (tried_h > 0) & (tried_h <= window_h[:, None])
    fallback = ~fits.any(1)
    first, every = fits.argmax(1), np.arange(len(window_xyxy))
    central_w, central_h = _central_crops(window_w, window_h, crop_ratio)
    w = np.where(fallback, central_w, tried_w[every, first])
    h = np.where(fallback, central_h, tried_h[every, first])
    left = np.where(fallback, (window_w - w) // 2, np.floor(numbers[:, -2] * (window_w - w + 1)).astype(np.int64))
    top = np.where(fallback, (window_h - h) // 2, np.floor(numbers[:, -1] * (window_h - h + 1)).astype(np.int64))
    return np.stack([x0 + left, y0 + top, x0 + left + w, y0 + top + h], 1), fallback


def _central_crops(
    window_w: Int[np.ndarray, "n"], window_h: Int[np.ndarray, "n"], crop_ratio: tuple[float, float]
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    aspect = window_w / window_h
    w = np.where(aspect > crop_ratio[1], np.round(window_h * crop_ratio[1]), window_w).astype(np.int64)
    h = np.where(aspect < crop_ratio[0], np.round(window_w / crop_ratio[0]), window_h).astype(np.int64)
    return np.maximum(w, 1), np.maximum(h, 1)

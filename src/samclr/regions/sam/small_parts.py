"""Removal of small holes and islands from masks."""

import numpy as np
from jaxtyping import Bool
from skimage.measure import label


def fill_holes(mask: Bool[np.ndarray, "h w"], min_area_px: int) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Fill 8-connected pieces of background under min_area_px; and whether there were any."""
    small = _small_parts(~mask, min_area_px)
    return mask | small, bool(small.any())


def drop_islands(mask: Bool[np.ndarray, "h w"], min_area_px: int) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Drop 8-connected pieces of the mask under min_area_px, but for its largest; and whether there were any."""
    small = _small_parts(mask, min_area_px)
    if not small.any():
        return mask, False
    if (mask & ~small).any():
        return mask & ~small, True
    parts = label(mask, connectivity=2)
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax(), True


def _small_parts(mask: Bool[np.ndarray, "h w"], min_area_px: int) -> Bool[np.ndarray, "h w"]:
    parts = label(mask, connectivity=2)
    small = np.bincount(parts.ravel()) < min_area_px
    small[0] = False
    return small[parts]

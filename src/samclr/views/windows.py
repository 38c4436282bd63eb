"""Windows that crops are drawn in: a region's box, and what is added to it."""

import numpy as np
from jaxtyping import Int


def widened(
    boxes_xyxy: Int[np.ndarray, "r 4"], image_hw: Int[np.ndarray, "r 2"], max_aspect: float
) -> Int[np.ndarray, "r 4"]:
    """Lengthen the shorter side of thin boxes until none is `max_aspect` times the other, or it is the image's.

    A box keeps its centre where the image allows, and holds what it held.
    """
    size_wh = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    image_wh = image_hw[:, ::-1].astype(np.int64)
    least = np.ceil(size_wh.max(1, keepdims=True) / max_aspect).astype(np.int64)
    wider_wh = np.minimum(np.maximum(size_wh, least), image_wh)
    corner = np.clip(boxes_xyxy[:, :2] - (wider_wh - size_wh) // 2, 0, image_wh - wider_wh)
    return np.concatenate([corner, corner + wider_wh], 1)


def with_margin(
    boxes_xyxy: Int[np.ndarray, "r 4"], image_hw: Int[np.ndarray, "r 2"], margin: float
) -> Int[np.ndarray, "r 4"]:
    """Boxes with `margin` of their width and height more on each side, as far as the image goes."""
    more_wh = np.round((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * margin).astype(np.int64)
    low = np.maximum(boxes_xyxy[:, :2] - more_wh, 0)
    return np.concatenate([low, np.minimum(boxes_xyxy[:, 2:] + more_wh, image_hw[:, ::-1])], 1)

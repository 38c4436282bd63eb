"""Segmentation counted and drawn: labels of patches, scores enlarged to the label's size, intersection over union."""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from samclr.datasets.labelled_scenes import IGNORED

NUMBERS_AT_ONCE = 16_000_000  # scores of enlarged rows held at a time


def patch_shares(
    labels: UInt8[np.ndarray, "h w"], grid_hw: tuple[int, int], num_classes: int
) -> Float[np.ndarray, "gh gw c"]:
    """Share of each patch's pixels that have each class; ignored pixels are missing from the sum."""
    (height, width), (gh, gw) = labels.shape, grid_hw
    row = (2 * np.arange(height) + 1) * gh // (2 * height)  # of the patch that holds the pixel's centre
    column = (2 * np.arange(width) + 1) * gw // (2 * width)
    patch = row[:, None] * gw + column
    counted = labels != IGNORED
    index = patch[counted] * num_classes + labels[counted].astype(np.int64)
    counts = np.bincount(index, minlength=gh * gw * num_classes).reshape(gh, gw, num_classes)
    size = np.bincount(patch.ravel(), minlength=gh * gw).reshape(gh, gw, 1)
    return (counts / np.maximum(size, 1)).astype(np.float32)


def enlarge_argmax(scores: Float[Tensor, "c gh gw"], size_hw: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """The best class of every pixel after bilinear enlarging (pixel centres, as torch without align_corners).

    Rows are made a strip at a time: memory does not grow with the image.
    """
    height, width = size_hw
    left, right, share = _neighbours(scores.shape[2], width)
    wide = scores[:, :, left] * (1 - share) + scores[:, :, right] * share
    upper, lower, share = _neighbours(scores.shape[1], height)
    out = np.empty(size_hw, np.uint8)
    strip = max(NUMBERS_AT_ONCE // (scores.shape[0] * width), 1)
    for first in range(0, height, strip):
        rows = slice(first, first + strip)
        weight = share[rows, None]
        tall = wide[:, upper[rows]] * (1 - weight) + wide[:, lower[rows]] * weight
        out[rows] = tall.argmax(0).numpy().astype(np.uint8)
    return out


def _neighbours(num: int, size: int) -> tuple[Int[Tensor, "s"], Int[Tensor, "s"], Float[Tensor, "s"]]:
    """For each of `size` places the two of `num` between which it lies, and the weight of the second."""
    place = ((torch.arange(size, dtype=torch.float64) + 0.5) * num / size - 0.5).clamp(0, num - 1)
    first = place.long()
    return first, (first + 1).clamp(max=num - 1), (place - first).float()


def confusion(
    labels: UInt8[np.ndarray, "h w"], predicted: UInt8[np.ndarray, "h w"], num_classes: int
) -> Int[np.ndarray, "c c"]:
    """Pixels counted as [true][predicted]; ignored ones are not."""
    counted = labels != IGNORED
    index = labels[counted].astype(np.int64) * num_classes + predicted[counted]
    return np.bincount(index, minlength=num_classes**2).reshape(num_classes, num_classes)


def iou_counts(confused: Int[np.ndarray, "c c"]) -> Float[np.ndarray, "m"]:
    """What sums over images to IoUs and accuracy: for each class the pixels that are right, true and predicted."""
    return np.concatenate([np.diagonal(confused), confused.sum(1), confused.sum(0)]).astype(np.float64)


def sparse_counts(counts: Float[np.ndarray, "m"]) -> list[list[int]]:
    """`iou_counts` of an image for a file: class, right, true and predicted pixels, of the classes it has."""
    right, true, predicted = counts.astype(np.int64).reshape(3, -1)
    found = np.flatnonzero(true + predicted)
    return [[int(one), int(right[one]), int(true[one]), int(predicted[one])] for one in found]


def dense_counts(rows: list[list[int]], num_classes: int) -> Float[np.ndarray, "m"]:
    """What `sparse_counts` was made of. Raises ValueError or IndexError for anything else."""
    counts = np.zeros((3, num_classes))
    for one, *pixels in rows:
        counts[:, one] = pixels
    return counts.ravel()


def class_ious(counts: Float[np.ndarray, "m"]) -> Float[np.ndarray, "c"]:
    """Intersection over union of each class; NaN for one that is neither in labels nor in predictions."""
    right, true, predicted = counts.reshape(3, -1)
    union = true + predicted - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def miou_and_accuracy(counts: Float[np.ndarray, "m"]) -> Float[np.ndarray, "2"]:
    """Mean IoU over the classes that occur in the labels, and the share of right pixels; 0 if no pixel counts.

    A class that is only predicted lowers the IoU of those it is mistaken for; it has no IoU of its own to average.
    """
    right, true, _ = counts.reshape(3, -1)
    if not true.any():
        return np.zeros(2)
    return np.array([class_ious(counts)[true > 0].mean(), right.sum() / true.sum()])

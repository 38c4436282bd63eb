"""Pixels counted by predicted and true class, image by image, and clusters matched with classes (Ziegler and Asano,
"Self-supervised learning of object parts for semantic segmentation", CVPR 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer, UInt8
from scipy.optimize import linear_sum_assignment

from samclr.datasets.labelled_scenes import IGNORED


@dataclass(frozen=True, kw_only=True)
class ImageCounts:
    """The pairs of a prediction and a class that occur in an image: few, however many clusters and classes there are.

    Attributes:
        predicted, true: of each pair.
        pixels: that have it.
    """

    predicted: Int[np.ndarray, "m"]
    true: Int[np.ndarray, "m"]
    pixels: Int[np.ndarray, "m"]

    @property
    def packed(self) -> Int[np.ndarray, "3 m"]:
        """As `unpacked` takes it."""
        return np.stack([self.predicted, self.true, self.pixels])

    @classmethod
    def unpacked(cls, rows: Int[np.ndarray, "3 m"]) -> "ImageCounts":
        """Of what was packed."""
        predicted, true, pixels = rows
        return cls(predicted=predicted, true=true, pixels=pixels)


def count_pairs(
    labels: UInt8[np.ndarray, "h w"], predicted: Integer[np.ndarray, "h w"], num_classes: int
) -> ImageCounts:
    """Count an image; ignored pixels are left out."""
    counted = labels != IGNORED
    pairs, pixels = np.unique(predicted[counted].astype(np.int64) * num_classes + labels[counted], return_counts=True)
    return ImageCounts(predicted=pairs // num_classes, true=pairs % num_classes, pixels=pixels)


def pair_table(images: Sequence[ImageCounts], num_predicted: int, num_classes: int) -> Int[np.ndarray, "k c"]:
    """Pixels of all images, as [predicted][true]."""
    table = np.zeros((num_predicted, num_classes), np.int64)
    for image in images:
        table[image.predicted, image.true] += image.pixels
    return table


def hungarian(table: Int[np.ndarray, "k c"]) -> Int[np.ndarray, "k"]:
    """The class of each cluster, one to one, so that the sum of their IoUs is largest; 0 for clusters left over."""
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    ious = table / np.maximum(union, 1)
    classes, clusters = linear_sum_assignment(1 - ious.T)
    match = np.zeros(len(table), np.int64)
    match[clusters] = classes
    return match


def many_to_one(table: Int[np.ndarray, "k c"]) -> Int[np.ndarray, "k"]:
    """The class of each cluster by precision: that of most of its pixels, the lower of equals; 0 of an empty one."""
    return table.argmax(1)


def matched_counts(
    images: Sequence[ImageCounts], match: Int[np.ndarray, "k"], num_classes: int
) -> Float[np.ndarray, "n m"]:
    """`iou_counts` of each image, once the class of each prediction is known."""
    counts = np.zeros((len(images), 3, num_classes))
    for (right, true, predicted), image in zip(counts, images, strict=True):
        given = match[image.predicted]
        hit = given == image.true
        np.add.at(right, given[hit], image.pixels[hit])
        np.add.at(true, image.true, image.pixels)
        np.add.at(predicted, given, image.pixels)
    return counts.reshape(len(images), 3 * num_classes)

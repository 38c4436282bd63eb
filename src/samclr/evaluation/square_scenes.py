"""Scenes and their label maps as squares, the way of the papers on dense features: whole, out of proportion, or
randomly cropped, flipped and jittered in colour. Draws are a pure function of (seed, epoch, scene)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as change

import samclr.draws as draws
from samclr.datasets.labelled_scenes import LabelledScenes
from samclr.evaluation.crops import CROP_RATIO
from samclr.evaluation.dense_features import IMAGES_AT_ONCE, load_ahead
from samclr.evaluation.features import images_at_once
from samclr.evaluation.patches import patch_maps, resize
from samclr.views.random_crop import NUM_CROP_COLUMNS, random_resized_crops

NUM_COLOUR_COLUMNS = 9
FLIP_PROB = JITTER_PROB = 0.5

LabelsT = TypeVar("LabelsT")


def whole_patches(side_px: int, patch: int) -> int:
    """The largest side of whole patches that is not over `side_px`, at least one patch."""
    return max(side_px // patch, 1) * patch


def resize_labels(
    labels: Integer[np.ndarray, "h w"], size_hw: tuple[int, int], corners: bool = False
) -> Integer[np.ndarray, "rows columns"]:
    """Nearest: the value under the centre of each new pixel, as Pillow does; `corners`: under its corner, as torch."""
    shift = 0.0 if corners else 0.5
    rows, columns = (
        ((np.arange(new) + shift) * old / new).astype(np.int64) for old, new in zip(labels.shape, size_hw, strict=True)
    )
    return labels[rows[:, None], columns]


@dataclass(frozen=True, kw_only=True)
class RandomSquares:
    """torchvision's RandomResizedCrop of image and label map, made squares.

    Attributes:
        side_px: of the squares.
        scale: smallest and largest share of the image that a crop covers; what is larger than the image does not fit,
            and is drawn again.
        seed: of all draws.
        flip: mirror every second square.
        jitter: before the crop, change brightness, contrast, saturation and hue, in this order, each of every second
            image, by factors up to 1 - jitter and 1 + jitter (the hue by up to this share of the circle).
        corners: as in `resize_labels`.
    """

    side_px: int
    scale: tuple[float, float]
    seed: int
    flip: bool = False
    jitter: float = 0.0
    corners: bool = False

    def cut(
        self, epoch: int, number: int, pixels: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]
    ) -> tuple[UInt8[np.ndarray, "3 s s"], UInt8[np.ndarray, "s s"]]:
        """The square of a scene in an epoch."""
        height, width = labels.shape
        numbers = draws.uniforms(self.seed, draws.STREAM_CROP, epoch, number, NUM_CROP_COLUMNS)
        window = np.array([[0, 0, width, height]])
        x0, y0, x1, y1 = random_resized_crops(window, numbers, self.scale, CROP_RATIO)[0][0]
        colours = draws.uniforms(self.seed, draws.STREAM_COLOUR, epoch, number, NUM_COLOUR_COLUMNS)[0]
        shown = self._jittered(pixels, colours[1:]) if self.jitter else pixels
        size = (self.side_px, self.side_px)
        square = resize(np.ascontiguousarray(shown[y0:y1, x0:x1]), size)
        square_labels = resize_labels(labels[y0:y1, x0:x1], size, self.corners)
        if self.flip and colours[0] < FLIP_PROB:
            return np.ascontiguousarray(square[..., ::-1]), np.ascontiguousarray(square_labels[:, ::-1])
        return square, square_labels

    def _jittered(self, pixels: UInt8[np.ndarray, "h w 3"], numbers: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
        image = Image.fromarray(pixels)
        factors = 1 + self.jitter * (2 * numbers[4:] - 1)
        changes = (change.adjust_brightness, change.adjust_contrast, change.adjust_saturation)
        for applied, factor, one in zip(numbers[:3], factors[:3], changes, strict=True):
            image = one(image, float(factor)) if applied < JITTER_PROB else image
        return np.asarray(change.adjust_hue(image, float(factors[3] - 1)) if numbers[3] < JITTER_PROB else image)


def stream_squares(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    make: Callable[[int, UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]], tuple[np.ndarray, LabelsT]],
    stage: int,
    device: torch.device,
    title: str,
) -> Iterator[tuple[Float[Tensor, "d gh gw"], LabelsT]]:
    """The feature map, on the device, of the square that `make` makes of each scene, and what it makes of its labels.

    `make` is given the place in `numbers`, pixels and labels; see `load_ahead`.

    Raises:
        EvaluationError: an image is broken, its label map has another size, or the backbone does not accept squares.
    """
    for loaded in load_ahead(scenes, numbers, make, title):
        at_once = images_at_once(loaded[0][0].shape, IMAGES_AT_ONCE)
        for first in range(0, len(loaded), at_once):
            batch = loaded[first : first + at_once]
            maps = patch_maps(backbone, np.stack([square for square, _ in batch]), stage, device)
            yield from zip(maps, (labels for _, labels in batch), strict=True)


@dataclass(frozen=True, kw_only=True)
class SquareLabels:
    """The labels of a test image: of the square, and at the label map's own size."""

    square: UInt8[np.ndarray, "s s"]
    full: UInt8[np.ndarray, "h w"]


def stream_test_squares(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    side_px: int,
    stage: int,
    device: torch.device,
    corners: bool = False,
    title: str = "test images",
) -> Iterator[tuple[Float[Tensor, "d gh gw"], SquareLabels]]:
    """As `stream_squares`, of whole test images; `corners`: as in `resize_labels`."""
    size = (side_px, side_px)

    def whole(
        place: int, pixels: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]
    ) -> tuple[np.ndarray, SquareLabels]:
        return resize(pixels, size), SquareLabels(square=resize_labels(labels, size, corners), full=labels)

    yield from stream_squares(backbone, scenes, numbers, whole, stage, device, title)

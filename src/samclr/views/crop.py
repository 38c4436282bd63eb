"""Cut views out of the bank: crop and antialiased resize in one pass over the nearest finer pyramid level.

The level is the coarsest one that still has MIN_LEVEL_SCALE pixels an output pixel on the finer axis, or level 0.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from samclr.bank.bank import LevelReader
from samclr.bank.rows import NUM_LEVELS
from samclr.bank.tiles import TileReader
from samclr.errors import PartsError

MIN_LEVEL_SCALE = 1.25  # fewer source pixels an output pixel than this, and a finer level is taken


@runtime_checkable
class Cropper(Protocol):
    """Serves crops of a bank, wherever it lies."""

    def crop(
        self, image_index: Int[np.ndarray, "b"], boxes_xyxy: Int[np.ndarray, "b v 4"], size_px: int
    ) -> UInt8[np.ndarray, "b v 3 s s"] | UInt8[Tensor, "b v 3 s s"]:
        """Crop native-pixel boxes and resize them to `size_px` square."""
        ...


@runtime_checkable
class CropSource(Protocol):
    """What a ViewCropper needs of a SceneBank: sizes of each image, natively and in the bank, and its pixels."""

    native_hw: Any
    bank_hw: Any

    def reader(self, image: int) -> LevelReader | TileReader: ...

    def damaged(self, image: int, why: object) -> PartsError: ...


class ViewCropper:
    """Serves crops of a bank from a few threads; the compiled kernel releases the GIL."""

    def __init__(self, bank: CropSource, num_threads: int = 1):
        self.bank = bank
        self._pool = ThreadPoolExecutor(num_threads) if num_threads > 1 else None
        self._num_threads = num_threads

    def crop(
        self, image_index: Int[np.ndarray, "b"], boxes_xyxy: Int[np.ndarray, "b v 4"], size_px: int
    ) -> UInt8[np.ndarray, "b v 3 s s"]:
        """Crop native-pixel boxes and resize them to `size_px` square. Raises PartsError on damaged pixels."""
        b, v = boxes_xyxy.shape[:2]
        views = np.empty((b, v, 3, size_px, size_px), np.uint8)

        def work(rows: range) -> None:
            for row in rows:
                self._crop_row(int(image_index[row]), boxes_xyxy[row], views[row])

        if self._pool is None:
            work(range(b))
        else:
            shares = [range(first, b, self._num_threads) for first in range(self._num_threads)]
            list(self._pool.map(work, shares))
        return views

    def _crop_row(self, image: int, boxes_xyxy: Int[np.ndarray, "v 4"], out: UInt8[np.ndarray, "v 3 s s"]) -> None:
        from samclr.views.resample import crop_resize  # here, as numba takes a while to import

        scale_y, scale_x = self.bank.bank_hw[image] / self.bank.native_hw[image]
        boxes = boxes_xyxy * np.array([scale_x, scale_y, scale_x, scale_y])
        levels = levels_for((boxes[:, 2:] - boxes[:, :2]).min(1) / out.shape[-1])
        boxes *= 0.5 ** levels[:, None]
        try:
            reader = self.bank.reader(image)
            for (x0, y0, x1, y1), level, view in zip(boxes.tolist(), levels.tolist(), out, strict=True):
                source, left, top = reader.window(level, int(x0), int(y0), math.ceil(x1), math.ceil(y1))
                crop_resize(source, x0 - left, y0 - top, x1 - left, y1 - top, level > 0, view)
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow and numpy say of damaged bytes
            raise self.bank.damaged(image, error) from None


def levels_for(scale: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Pyramid level for crops with `scale` native pixels an output pixel."""
    coarser = scale[:, None] * 0.5 ** np.arange(1, NUM_LEVELS) >= MIN_LEVEL_SCALE
    return coarser.sum(1)

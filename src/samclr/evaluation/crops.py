"""Random resized crops and flips of a labelled split, cut from a bank of decoded pixels.

They are a pure function of (seed, epoch). The bank lies in the cache and is mapped: a split may be larger than memory.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import samclr.draws as draws
from samclr.bank.bank import SceneBank, pack_scenes
from samclr.datasets.labelled import LabelledSet
from samclr.datasets.labelled_split import LabelledSplit
from samclr.errors import EvaluationError, name_some
from samclr.evaluation.squares import SQUARE
from samclr.models.fingerprints import cache_key
from samclr.scenes.fill import FillOptions
from samclr.views.crop import ViewCropper
from samclr.views.random_crop import NUM_CROP_COLUMNS, random_resized_crops

CROP_RATIO = (3 / 4, 4 / 3)
BANK_CROPS = 4  # the bank's longer side, in crops: the smallest usual crop of it is still not enlarged


class LabelledCrops:
    """The training split of a protocol that trains on pixels: batches of crops with their labels."""

    def __init__(
        self, split: LabelledSplit, *, size_px: int, min_scale: float, batch_size: int, seed: int, cache: Path
    ):
        """Pack the split into a bank in `cache`, if it is not there yet.

        Raises:
            EvaluationError: an image is broken.
        """
        workers, cap = os.cpu_count() or 1, BANK_CROPS * size_px
        path = cache / "banks" / f"labelled-{split.fingerprint}-{cap}"
        pack_scenes(split.refs, path, cap, FillOptions(num_workers=workers))
        bank = SceneBank(path, split.refs)
        if bank.errors:
            broken = [f"{image_id} ({text})" for image_id, text in bank.errors.items()]
            raise EvaluationError(
                f"{len(broken)} of the labelled images cannot be read: {name_some(broken)}; fix or remove them"
            )
        self._cropper, self._hw = ViewCropper(bank, workers), bank.native_hw.astype(np.int64)
        self._labels, self._size_px, self._scale = split.labels, size_px, (min_scale, 1.0)
        self._batch_size, self._seed = batch_size, seed

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        return len(self._batches(np.arange(len(self._labels))))

    def epoch(
        self, number: int, device: torch.device, first: int = 0
    ) -> Iterator[tuple[Float[Tensor, "b 3 s s"], Int[Tensor, "b"]]]:
        """All images in a new order and newly cropped, values from 0 to 1; the next batch is cut while one is used.

        first: number of the first batch.
        """
        batches = self._batches(draws.epoch_order(self._seed, number, len(self._labels)))[first:]
        if not batches:
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._cut, number, batches[0])
            for place, rows in enumerate(batches):
                pixels = ahead.result().to(device)
                if place + 1 < len(batches):
                    ahead = pool.submit(self._cut, number, batches[place + 1])
                yield pixels.float().div_(255.0), torch.from_numpy(self._labels[rows]).to(device)

    def boxes(self, number: int, rows: Int[np.ndarray, "b"]) -> Int[np.ndarray, "b 4"]:
        """The crop of each image in an epoch, in native pixels."""
        windows = np.concatenate([np.zeros((len(rows), 2), np.int64), self._hw[rows][:, ::-1]], 1)
        numbers = draws.uniforms(self._seed, draws.STREAM_CROP, number, rows, NUM_CROP_COLUMNS)
        return random_resized_crops(windows, numbers, self._scale, CROP_RATIO)[0]

    def _cut(self, number: int, rows: Int[np.ndarray, "b"]) -> Tensor:
        views = self._cropper.crop(rows, self.boxes(number, rows)[:, None], self._size_px)[:, 0]
        flipped = draws.uniforms(self._seed, draws.STREAM_COLOUR, number, rows, 1)[:, 0] < 0.5
        views[flipped] = views[flipped][..., ::-1]
        return torch.from_numpy(views)

    def _batches(self, order: Int[np.ndarray, "n"]) -> list[Int[np.ndarray, "_"]]:
        """Never a last batch of one image: batch norm has no statistics of one."""
        batches = [order[first : first + self._batch_size] for first in range(0, len(order), self._batch_size)]
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [np.concatenate(batches[-2:])]
        return batches


def state_path(
    kind: str, backbone: nn.Module, labelled: LabelledSet, settings: dict[str, Any], device: torch.device, cache: Path
) -> Path:
    """Where the state of a protocol that trains on crops is kept."""
    images = [labelled.train.fingerprint, labelled.test.fingerprint, len(labelled.classes), CROP_RATIO, BANK_CROPS]
    return cache / "probes" / f"{kind}-{cache_key(backbone, device, kind, *images, SQUARE, settings)}.pt"

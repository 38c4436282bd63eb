"""Frozen features of a labelled split: computed once for each pair of backbone and images, then reused.

They lie in a .npy file that is written batch by batch and memory-mapped, so a set may be larger than memory.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from samclr.config.normalisation import Normalisation, normalisation_of
from samclr.datasets.labelled_split import ImageSplit
from samclr.errors import EvaluationError
from samclr.evaluation.squares import SQUARE, decode_square
from samclr.log import say
from samclr.models.fingerprints import cache_key
from samclr.models.freeze import modes_kept
from samclr.storage.checksums import is_whole, seal
from samclr.storage.files import BusyError, remove_leftovers, replacing_path

BATCH = 256
DECODE_BYTES = 200_000_000  # decoded images held at a time


def split_features(
    backbone: nn.Module, split: ImageSplit, image_px: int, device: torch.device, cache: Path
) -> Float[Tensor, "n d"]:
    """Features of a split in float32, mapped from `cache`, where they are put if they were not computed before.

    Raises:
        EvaluationError: features are not finite.
    """
    key = cache_key(backbone, device, split.fingerprint, image_px, SQUARE)
    path = cache / "features" / f"{key}.npy"
    normalisation = normalisation_of(backbone)
    if not is_sound(path):
        with GrowingArray(path) as file:
            at_once = max(DECODE_BYTES // (3 * image_px**2), 1)
            for first in range(0, len(split.refs), at_once):
                pixels = decode_square(split.refs[first : first + at_once], image_px, os.cpu_count() or 1)
                for start in range(0, len(pixels), BATCH):
                    file.append(pixel_features(backbone, pixels[start : start + BATCH], device, normalisation).numpy())
    return map_array(path)


def is_sound(path: Path) -> bool:
    """Whether a file of the cache is there and whole. A damaged one is reported, and then made again."""
    remove_leftovers(path.parent)
    if not path.exists():
        return False
    if not is_whole(path):
        say(f"{path} in the cache is damaged; it is made again")
        return False
    return True


class GrowingArray:
    """A .npy array written by appending rows, and its checksum; it takes its name when it is whole."""

    def __init__(self, path: Path, dtype: str = "<f4"):
        """dtype: of the numbers in the file, as .npy names them."""
        self._path, self._stack, self._dtype = path, ExitStack(), dtype
        self._beside = self._stack.enter_context(replacing_path(path))
        self._file = self._stack.enter_context(open(self._beside, "wb"))  # noqa: SIM115 - it is
        self.num_rows, self._rest = 0, ()

    def append(self, rows: Shaped[np.ndarray, "b *rest"]) -> None:
        """Write the next rows. Raises EvaluationError if a number is not finite."""
        if not np.isfinite(rows).all():
            raise EvaluationError("the backbone's features are not finite: its weights are damaged, or training failed")
        if self.num_rows == 0:
            self._rest = rows.shape[1:]
            self._write_header()  # of a length that leaves room for more rows
        self.num_rows += len(rows)
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())

    def __enter__(self) -> "GrowingArray":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            with self._stack:  # a disk may be full as late as here
                if error is not None:
                    raise error
                self._file.seek(0)
                self._write_header()
                self._file.close()
                seal(self._beside)
        except BusyError:
            if not is_whole(self._path):  # else another process has made the same meanwhile, and mapped it
                raise

    def _write_header(self) -> None:
        header = {"descr": self._dtype, "fortran_order": False, "shape": (self.num_rows, *self._rest)}
        np.lib.format.write_array_header_1_0(self._file, header)


def map_array(path: Path) -> Shaped[Tensor, "n *rest"]:
    """Map a .npy file as a tensor. What is written to the tensor never reaches the file."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))


@torch.inference_mode()
def pixel_features(
    backbone: nn.Module, pixels: UInt8[np.ndarray, "n 3 h w"], device: torch.device, normalisation: Normalisation
) -> Float[Tensor, "n d"]:
    """Features of decoded images by a backbone in evaluation mode; its mode is put back afterwards."""
    parts = []
    with modes_kept(backbone):
        backbone.eval().to(device)
        for first in range(0, len(pixels), BATCH):
            batch = torch.from_numpy(pixels[first : first + BATCH]).to(device).float().div_(255.0)
            parts.append(backbone(normalisation(batch)).float().cpu())
    return torch.cat(parts)

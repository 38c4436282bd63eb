"""Images of CIFAR-10's batches and STL-10's binary files: arrays, handed on as PPM files like any other image.

The files are read where they lie, one image at a time (STL-10 is mapped, its unlabelled split has 2.8 GB).
torchvision's readers are the oracle in the tests.
"""

import os
import pickle
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8

from samclr.storage.files import regular

CIFAR_HW, STL_HW = (32, 32), (96, 96)
NUM_CIFAR_VALUES = 3 * CIFAR_HW[0] * CIFAR_HW[1]


class _Array:
    """Takes the place of numpy's array in a pickle: keeps bytes and shape, no native code sees its state."""

    shape: tuple[int, ...]
    data: bytes | str
    dtype: "_Dtype"

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.is_fortran, self.data = state

    def pixels(self) -> UInt8[np.ndarray, "n d"]:
        raw = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        if self.dtype.name not in ("u1", "|u1") or len(self.shape) != 2 or self.shape[1] != NUM_CIFAR_VALUES:
            raise ValueError(f"its data are {self.dtype.name} {list(self.shape)}, expected uint8 [n, 3072]")
        if self.is_fortran or len(raw) != self.shape[0] * NUM_CIFAR_VALUES:
            raise ValueError(f"its data are {len(raw):,} bytes for the shape {list(self.shape)}")
        return np.frombuffer(raw, np.uint8).reshape(-1, NUM_CIFAR_VALUES)


class _Dtype:
    """Takes the place of numpy's dtype."""

    def __init__(self, name: str, *arguments: Any):
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


def _latin1(text: str, encoding: str) -> bytes:
    """Takes the place of codecs.encode, by which newer pickles write bytes."""
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """Makes stand-ins of numpy arrays and nothing else: a batch file from anywhere can run no code."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): _Array,
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Dtype,
            ("_codecs", "encode"): _latin1,
        }
        found = known.get((module.replace("_core", "core"), name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return found


@lru_cache(maxsize=6)
def cifar_pixels(path: str, mtime_ns: int) -> UInt8[np.ndarray, "n h w 3"]:
    """All images of one batch file. Raises OSError or ValueError."""
    with open(regular(path), "rb") as file:
        try:
            data = _ArraysOnly(file, encoding="latin1").load()["data"].pixels()
        except OSError:
            raise
        except Exception as error:  # unpickling raises anything on broken bytes
            raise ValueError(f"not a CIFAR batch ({type(error).__name__}: {error})") from None
    return data.reshape(-1, 3, *CIFAR_HW).transpose(0, 2, 3, 1)


@lru_cache(maxsize=8)
def stl_pixels(path: str, mtime_ns: int) -> UInt8[np.ndarray, "n h w 3"]:
    """All images of one binary file, mapped. Columns come first in the file. Raises OSError or ValueError."""
    image_bytes, size = 3 * STL_HW[0] * STL_HW[1], os.stat(regular(path)).st_size
    if size == 0 or size % image_bytes:
        raise ValueError(f"not an STL-10 file: {size:,} bytes is not a multiple of {image_bytes:,}, one image")
    return np.asarray(np.memmap(path, np.uint8, "r")).reshape(-1, 3, STL_HW[1], STL_HW[0]).transpose(0, 3, 2, 1)


def ppm(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An image as a binary PPM file, whose bytes depend on the pixels alone."""
    height, width = pixels.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(pixels).tobytes()


def num_cifar_images(path: str, mtime_ns: int) -> int:
    """Images in a batch file. Raises OSError or ValueError."""
    return len(cifar_pixels(path, mtime_ns))


def cifar_image_bytes(path: str, row: int, mtime_ns: int) -> bytes:
    """One image of a batch file, as PPM."""
    return ppm(cifar_pixels(path, mtime_ns)[row])


def num_stl_images(path: str, mtime_ns: int) -> int:
    """Images in a binary file. Raises OSError or ValueError."""
    return len(stl_pixels(path, mtime_ns))


def stl_image_bytes(path: str, row: int, mtime_ns: int) -> bytes:
    """One image of a binary file, as PPM."""
    return ppm(stl_pixels(path, mtime_ns)[row])

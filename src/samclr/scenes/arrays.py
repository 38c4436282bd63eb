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

CIFAR_HW, STL_HW = (32, 32), (96, 96)


class _ArraysOnly(pickle.Unpickler):
    """Makes numpy arrays and nothing else: a batch file from anywhere can run no code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("_core", "core"), name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"no CIFAR batch: it asks for {module}.{name}")


@lru_cache(maxsize=6)
def cifar_pixels(path: str, mtime_ns: int) -> UInt8[np.ndarray, "n h w 3"]:
    """All images of one batch file. Raises OSError or ValueError."""
    with open(path, "rb") as file:
        try:
            data = np.asarray(_ArraysOnly(file, encoding="latin1").load()["data"])
        except OSError:
            raise
        except Exception as error:  # unpickling raises anything on broken bytes
            raise ValueError(f"no CIFAR batch ({type(error).__name__}: {error})") from None
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * CIFAR_HW[0] * CIFAR_HW[1]:
        raise ValueError(f"no CIFAR batch: its data are {data.dtype} {list(data.shape)}, expected uint8 [n, 3072]")
    return data.reshape(-1, 3, *CIFAR_HW).transpose(0, 2, 3, 1)


@lru_cache(maxsize=8)
def stl_pixels(path: str, mtime_ns: int) -> UInt8[np.ndarray, "n h w 3"]:
    """All images of one binary file, mapped. Columns come first in the file. Raises OSError or ValueError."""
    image_bytes, size = 3 * STL_HW[0] * STL_HW[1], os.stat(path).st_size
    if size == 0 or size % image_bytes:
        raise ValueError(f"no STL-10 file: {size:,} bytes are no multiple of {image_bytes:,}, one image")
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

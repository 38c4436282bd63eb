"""Arrays in the cache: written by appending rows, part by part where they take long, and memory-mapped."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from samclr.errors import EvaluationError
from samclr.log import say
from samclr.storage.checksums import is_whole, seal
from samclr.storage.files import BusyError, remove_leftovers, replacing_path
from samclr.storage.locks import locked

JOIN_BYTES = 64_000_000  # of parts, copied at a time
NOT_FINITE = "the backbone's features are not finite: its weights are damaged, or training failed"

PartT = TypeVar("PartT")
Rows = tuple[Shaped[np.ndarray, "..."], ...]  # equally many for each file


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
        if len(rows) == 0:
            return
        if not np.isfinite(rows).all():
            raise EvaluationError(NOT_FINITE)
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


def in_parts(num: int, size: int, multiple: int = 1) -> list[range]:
    """The numbers from 0 to `num` in parts of about `size`, which begin at a multiple of `multiple`."""
    step = max(size // multiple, 1) * multiple
    return [range(first, min(first + step, num)) for first in range(0, num, step)]


def make_arrays(
    paths: Sequence[Path],
    parts: Sequence[PartT],
    rows: Callable[[PartT], Iterable[Rows]],
    dtypes: Sequence[str] = (),
    if_none: str = "",
) -> None:
    """Make .npy files, part by part: killed and started again, it goes on after the last whole part.

    Parts lie in a folder beside the files until these are made of them, which takes their room twice. Of two processes
    that make the same, one waits for the other. One part alone is written into the files at once, by both of them.

    Args:
        paths: of the files.
        parts: what `rows` is called with, one after the other.
        rows: of a part gives what is appended to each of the files.
        dtypes: of the files; by default float32.
        if_none: what is wrong where there are no rows at all.

    Raises:
        EvaluationError: a number is not finite, or there are no rows.
    """
    kinds = dtypes or ["<f4"] * len(paths)
    if len(parts) == 1:
        _write(paths, rows(parts[0]), kinds, if_none)
        return
    folder = paths[0].with_suffix(".parts")
    with locked(folder.parent.with_name(f"{folder.parent.name}-locks") / paths[0].name):
        if all(path.exists() for path in paths) and all(map(is_sound, paths)):
            return
        pieces = [[folder / f"{number:06d}-{place}.npy" for place in range(len(paths))] for number in range(len(parts))]
        for part, piece in zip(parts, pieces, strict=True):
            if not all(map(is_sound, piece)):
                _write(piece, rows(part), kinds)
        _write(paths, _joined(pieces), kinds, if_none)
        shutil.rmtree(folder, ignore_errors=True)


def _write(paths: Sequence[Path], rows: Iterable[Rows], dtypes: Sequence[str], if_none: str = "") -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(GrowingArray(path, kind)) for path, kind in zip(paths, dtypes, strict=True)]
        for some in rows:
            for file, own in zip(files, some, strict=True):
                file.append(own)
        if if_none and files[0].num_rows == 0:
            raise EvaluationError(if_none)


def _joined(pieces: Sequence[Sequence[Path]]) -> Iterator[Rows]:
    for piece in pieces:
        arrays = [map_array(path).numpy() for path in piece]
        num = len(arrays[0])
        at_once = max(JOIN_BYTES * num // max(sum(one.nbytes for one in arrays), 1), 1)
        for first in range(0, num, at_once):
            yield tuple(one[first : first + at_once] for one in arrays)

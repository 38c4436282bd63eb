"""Vectors: a folder of vectors for Python, its rows as a table and its vectors as a memory-mapped array."""

import hashlib
import json
import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from samclr.config.cache import cache_folder
from samclr.embedding.mapped import Kind, Order, make_matrix, make_rows, order_of, read_rows
from samclr.embedding.origin import Origin, read_origin
from samclr.embedding.store import WHOLE_IMAGE
from samclr.errors import PartsError, UsageError, one_of
from samclr.log import say
from samclr.storage.checksums import is_whole
from samclr.storage.locks import locked
from samclr.storage.parts import MANIFEST, OK, VECTORS, PartsFolder

KINDS = ("image", "region", "all")
REPLACED = "it was replaced since it was embedded"
MAPPED_FORMAT = 1  # of the files that are made of the parts
CHECKED_BYTES = 2_000_000_000  # of such a file


class Vectors:
    """One vector an image and one a region, as `samclr.embed` or `samclr embed` made them.

        vectors = samclr.open_vectors("photos.vectors")
        rows, matrix = vectors.rows("region"), vectors.matrix("region")   # a table of n rows, and [n d]
        rows["id"][3], rows["region"][3], matrix[3]                       # one object

    Rows are in the order of the images' ids; in each image the whole image comes first, then its regions by number.
    What is seen is the folder as it was when it was opened; it is brought into order at first use, in files that are
    kept beside the vectors, or in the cache where the folder cannot be written to.

    Attributes:
        path: the folder.
        width: width d of the vectors.
        manifest: what the vectors were made with: backbone, its fingerprint and input normalisation, settings, width,
            dtype, and what made the regions.
    """

    def __init__(self, path: str | Path):
        """Open a folder of vectors for reading. Raises PartsError if `path` is not one, or one of a newer format."""
        self._folder = PartsFolder(Path(path), VECTORS)
        self.path: Path = self._folder.path
        self.manifest: dict[str, Any] = dict(self._folder.maker)
        try:
            self.width: int = int(self.manifest["width"])
            self._dtype = np.dtype(self.manifest["dtype"])
        except (KeyError, TypeError, ValueError) as error:
            raise PartsError(f"{self.path / MANIFEST} is damaged ({error!r}); make {self.path} again") from None
        self._paths = self._folder.part_paths()
        self._tables: dict[str, pa.Table] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._checked: set[Path] = set()

    @property
    def origin(self) -> Origin | None:
        """Where scenes and backbone were when the vectors were made; None of folders of before that was remembered.

        Raises:
            PartsError: the file that says so is damaged.
        """
        return read_origin(self.path)

    @property
    def errors(self) -> dict[str, str]:
        """Why there are no vectors, by id, of the images that could not be embedded."""
        self._refuse_changed()
        states: dict[str, str] = {}
        for _, images in self._folder.parts(["image_id", "status"], self._paths):
            states |= dict(zip(images["image_id"].to_pylist(), images["status"].to_pylist(), strict=True))
        return {image_id: status for image_id, status in sorted(states.items()) if status != OK}

    @cached_property
    def content_hashes(self) -> dict[str, str]:
        """By id, the hash of the file that each image had when it was embedded."""
        self._refuse_changed()
        hashes: dict[str, str] = {}
        for _, images in self._folder.parts(["image_id", "content_hash"], self._paths):
            hashes |= dict(zip(images["image_id"].to_pylist(), images["content_hash"].to_pylist(), strict=True))
        return hashes

    def __len__(self) -> int:
        """Vectors of images and regions together."""
        return len(self.rows("all"))

    def rows(self, kind: Kind = "all") -> pa.Table:
        """What each vector is of: id, region (-1 of a whole image), box_xyxy, area_px, width_px and height_px.

        kind: "image" for vectors of whole images, "region" for those of regions, or "all".

        Raises:
            PartsError: a part is damaged. UsageError: no such kind.
        """
        _check(kind)
        if kind not in self._tables:
            table = read_rows(self._made("rows.arrow", make_rows))
            if kind != "all":
                compare = pc.equal if kind == "image" else pc.not_equal
                table = table.filter(compare(table["region"], WHOLE_IMAGE))
            self._tables[kind] = table
        return self._tables[kind]

    def matrix(self, kind: Kind = "all") -> Float[np.ndarray, "n d"]:
        """[n d] the vectors at unit length, in the order of `rows(kind)`; memory-mapped, read-only.

        Raises:
            PartsError: a part is damaged, or a vector is zero or not finite. UsageError: no such kind.
        """
        _check(kind)
        if kind not in self._arrays:

            def make(folder: PartsFolder, order: Order, path: Path) -> None:
                make_matrix(folder, order, kind, path)

            place = self._made(f"{kind}.npy", make)
            num = len(self.rows(kind))
            # an empty array cannot be mapped
            self._arrays[kind] = np.load(place, mmap_mode="r") if num else np.zeros((0, self.width), self._dtype)
        return self._arrays[kind]

    def search(
        self, queries: Float[np.ndarray, "n d"], k: int = 10, kind: Kind = "image"
    ) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
        """Cosine similarity and number in `rows(kind)` of the k most similar vectors of each query, best first; the
        lower number where equal, and all of them if there are fewer. Exact, in bounded memory.

        queries: [n d] of any length but zero; a vector of the folder finds itself first.

        Raises:
            EvaluationError: a query is zero, not finite or of another width, or k is not positive.
            PartsError: a part is damaged. UsageError: no such kind.
        """
        from samclr.embedding.search import nearest_rows  # here, as numba takes a while to import

        return nearest_rows(queries, self.matrix(kind), k)

    def __repr__(self) -> str:
        return f"Vectors({str(self.path)!r}: {len(self):,} of width {self.width}, {self.manifest.get('backbone')})"

    @cached_property
    def _order(self) -> Order:
        return order_of(self._folder, self._paths)

    @cached_property
    def _place(self) -> Path:
        """The folder for what is made of the parts, which has their fingerprint as its name."""
        self._refuse_changed()
        mark = f"{self._folder.fingerprint(self._paths)}-{MAPPED_FORMAT}"
        if os.access(self.path, os.W_OK | os.X_OK):
            return self.path / "mapped" / mark
        own = hashlib.sha256(json.dumps(str(self.path.resolve())).encode()).hexdigest()[:16]
        return cache_folder() / "vectors" / own / mark

    def _refuse_changed(self) -> None:
        """Raise PartsError if a part is gone, since what still counted of it was put into another one."""
        if not all(path.exists() for path in self._paths):
            raise PartsError(f"vectors were replaced in {self.path} since it was opened; open it again")

    def _made(self, name: str, make: Any, is_sealed: bool = True) -> Path:
        """A file of `_place`, made if it is not there or damaged; what was made of other parts goes."""
        path = self._place / name
        if self._is_good(path, is_sealed):
            return path
        with locked(self._place.parent.parent / "locks" / "mapped"):
            if not self._is_good(path, is_sealed):
                self._refuse_changed()
                if path.exists():
                    say(f"{path} is damaged, and is made again")
                for old in self._place.parent.glob("*"):
                    if old.name != self._place.name:
                        shutil.rmtree(old, ignore_errors=True)
                make(self._folder, self._order, path)
                self._checked.add(path)
        return path

    def _is_good(self, path: Path, is_sealed: bool) -> bool:
        """Whether a file is there, and is as it was written, as far as that is looked at: once, and not of the largest,
        which are read faster than they are checked."""
        if not path.exists():
            return False
        if is_sealed and path not in self._checked and path.stat().st_size <= CHECKED_BYTES:
            if not is_whole(path):
                return False
            self._checked.add(path)
        return True


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"kind is {kind!r}; expected {one_of(KINDS)}")


def open_vectors(path: str | Path) -> Vectors:
    """Open a folder of vectors made by `samclr.embed` or `samclr embed`.

    Raises:
        PartsError: `path` is not a folder of vectors, or one of a newer format.
    """
    return Vectors(path)

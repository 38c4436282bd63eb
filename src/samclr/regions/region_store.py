"""RegionStore: a region store as a mapping, for Python."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from samclr.errors import RegionError
from samclr.regions.records import ImageRegions
from samclr.regions.store import open_store, row_to_regions
from samclr.storage.parts import OK, PartsFolder, bucket_of_part


class RegionStore(Mapping[str, ImageRegions]):
    """The regions that were found, by image id: the image's path below the scenes, with slashes.

    It iterates over ids; `values()` and `items()` read the store once, some images in memory at a time. Images that
    could not be segmented are no keys: they stand in `errors`.

        store = samclr.open_regions("photos.regions")
        found = store["holiday/0012.jpg"]
        found.boxes_xyxy, found.masks()                  # [r 4], [r h w]

    Attributes:
        path: the folder.
        maker: the segmenter's name and settings, as the store's manifest keeps them.
    """

    def __init__(self, path: str | Path):
        """Open a store for reading. Raises PartsError if `path` is not a region store."""
        self._folder: PartsFolder = open_store(Path(path))
        self.path: Path = self._folder.path
        self.maker: dict[str, Any] = dict(self._folder.maker)
        self._read: tuple[int, pa.Table] | None = None

    @property
    def errors(self) -> dict[str, str]:
        """Why there are none, by id, of the images that could not be read or segmented."""
        return {image_id: status for image_id, (_, status) in self._places.items() if status != OK}

    def __len__(self) -> int:
        """Images that were segmented, those without any region too."""
        return sum(status == OK for _, status in self._places.values())

    def __iter__(self) -> Iterator[str]:
        return (image_id for image_id, (_, status) in self._places.items() if status == OK)

    def __getitem__(self, image_id: str) -> ImageRegions:
        """The regions of one image.

        Raises:
            KeyError: the store has no such image, or it could not be segmented.
            RegionError: its row is damaged.
        """
        bucket, status = self._places[image_id]
        if status != OK:
            raise KeyError(f"{image_id}: {status}")
        rows = self._rows(bucket)
        place = pc.index(rows["image_id"], image_id).as_py()
        if place < 0:
            raise RegionError(f"{image_id} is no longer in the region store {self.path}; open it again")
        return row_to_regions(rows.slice(place, 1).to_pylist()[0])

    def __repr__(self) -> str:
        return f"RegionStore({str(self.path)!r}: {len(self):,} images, {self.maker.get('segmenter')})"

    @cached_property
    def _places(self) -> dict[str, tuple[int, str]]:
        """Bucket and status of each image, bucket by bucket; of several rows of an image the last counts."""
        places: dict[str, tuple[int, str]] = {}
        for stem, rows in self._folder.parts(["image_id", "status"]):
            bucket = bucket_of_part(stem)
            for image_id, status in zip(rows["image_id"].to_pylist(), rows["status"].to_pylist(), strict=True):
                places[image_id] = bucket, status
        return places

    def _rows(self, bucket: int) -> pa.Table:
        """A bucket's rows; the last one read is kept."""
        if self._read is None or self._read[0] != bucket:
            self._read = bucket, self._folder.read(bucket=bucket)
        return self._read[1]


def open_regions(path: str | Path) -> RegionStore:
    """Open a region store made by `samclr.segment`, `samclr segment` or `samclr regions import`.

    Raises:
        PartsError: `path` is not a region store, or one of a newer format.
    """
    return RegionStore(path)

"""RegionDataset: crops of regions as PIL images, for the transforms of lightly, torchvision or one's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image
from torch.utils.data import Dataset

from samclr.bank.bank import SceneBank
from samclr.config.pretrain import Codec, FilterConfig
from samclr.errors import ScenesError
from samclr.log import say
from samclr.processes.workers import unstated_workers
from samclr.regions.index import RegionIndex
from samclr.views.data import data_fingerprint, data_of, open_scenes, threads

Transform = Callable[[Image.Image], Any]


class RegionDataset(Dataset[Any]):
    """Map-style: item i is `transform(crop)` of region i, a PIL image of its padded box; without regions, of scene i.

    Regions are those that pass the filter, scene by scene; scenes in which none does give no item, and are counted in a
    remark. Pixels come out of the bank, so a crop costs no decoding. The object pickles small, for a DataLoader's
    workers.

        dataset = RegionDataset("photos", "photos.regions", transform=lightly.transforms.SimCLRTransform())
        for first, second in DataLoader(dataset, batch_size=256, shuffle=True, num_workers=8):
            ...                                          # [256 3 224 224] each

    Attributes:
        image_index: [n] which scene each item shows, a place in `image_ids`.
        boxes_xyxy: [n 4] what of it: half-open, in native pixels after EXIF rotation.
    """

    def __init__(
        self,
        scenes: str | Path | Sequence[str | Path],
        regions: str | Path | None = None,
        *,
        transform: Transform | None = None,
        filter: FilterConfig | None = None,
        bank: str | Path | None = None,
        max_side: int | None = None,
        codec: Codec = "raw",
        image_column: str | None = None,
        exclude: str | Path | None = None,
        held_out: float = 0.0,
        workers: int | None = None,
    ):
        """Pack the scenes that are not packed yet, and map the bank and the regions.

        Args:
            scenes: folders of images, Parquet files, tar shards or data sets as NAME@ROOT; one or several.
            regions: a region store of `samclr.segment` or `samclr segment`; None for whole scenes.
            transform: from a PIL image in RGB to the item; None gives the image itself.
            filter: which regions are seen, and their padding.
            bank: folder of the bank; by default one in the user's cache.
            max_side: cap on the longer side in the bank, px. codec: raw or jpeg, smaller and slower.
            image_column: column of Parquet files that holds the images.
            exclude: list of images to leave out, one id a line, as `samclr duplicates` writes it.
            held_out: share of the scenes that gives no items: those that `samclr pretrain --held-out` holds out.
            workers: processes that pack; by default one per core, for a script without a guard
                (`if __name__ == "__main__":`) this one alone.

        Raises:
            ConfigError: a setting is out of its range.
            ScenesError: no scene can be used, or no region passes the filter, or files were replaced.
            PartsError: the region store or bank cannot be read, or lacks some of the scenes.
        """
        self._data = data_of(scenes, regions, bank, max_side, codec, image_column, exclude, held_out)
        self.transform, self._filter = transform, filter or FilterConfig()
        self._workers = threads(workers) if workers is not None else unstated_workers(threads(None))
        self._opened: tuple[SceneBank, RegionIndex | None] | None = None
        opened, regions_found = self._opened = open_scenes(self._data, self._filter, self._workers)
        self._fingerprint = data_fingerprint(opened, regions_found)
        self._length = opened.num_images if regions_found is None else len(regions_found.area_px)
        if regions_found is not None:
            without = int((regions_found.start[1:] == regions_found.start[:-1]).sum())
            if without:
                say(f"{without:,} of {opened.num_images:,} scenes give no item: no region of theirs passes the filter")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        """Raises IndexError outside 0 to len - 1 (negative ones count from the end), PartsError on damaged pixels."""
        if not -self._length <= index < self._length:
            raise IndexError(f"item {index} of a data set of {self._length}")
        crop = self._crop(index % self._length)
        return crop if self.transform is None else self.transform(crop)

    @property
    def image_ids(self) -> list[str]:
        """Ids of the scenes in the bank, read again at each call."""
        return self._source()[0].image_ids

    @property
    def image_index(self) -> Int[np.ndarray, "n"]:
        """[n] which scene each item shows."""
        bank, regions = self._source()
        counts = 1 if regions is None else np.diff(regions.start)
        return np.repeat(np.arange(bank.num_images), counts)

    @property
    def boxes_xyxy(self) -> Int[np.ndarray, "n 4"]:
        """[n 4] what each item shows of its scene, in native pixels."""
        bank, regions = self._source()
        if regions is not None:
            return np.array(regions.box_xyxy, np.int64)
        height, width = bank.native_hw.T.astype(np.int64)
        return np.stack([np.zeros_like(width), np.zeros_like(height), width, height], 1)

    def _crop(self, index: int) -> Image.Image:
        bank, regions = self._source()
        if regions is None:
            return Image.fromarray(np.ascontiguousarray(bank.level(index, 0)))
        image = int(np.searchsorted(regions.start, index, side="right")) - 1
        scale_y, scale_x = bank.bank_hw[image] / bank.native_hw[image]
        box = regions.box_xyxy[index] * np.array([scale_x, scale_y, scale_x, scale_y])
        (x0, y0), (x1, y1) = np.floor(box[:2]).astype(int).tolist(), np.ceil(box[2:]).astype(int).tolist()
        height, width = bank.bank_hw[image].tolist()
        x1, y1 = min(x1, width), min(y1, height)
        try:
            source, left, top = bank.reader(image).window(0, x0, y0, x1, y1)
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow and numpy say of damaged bytes
            raise bank.damaged(image, error) from None
        return Image.fromarray(np.ascontiguousarray(source[y0 - top : y1 - top, x0 - left : x1 - left]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _source(self) -> tuple[SceneBank, RegionIndex | None]:
        """Bank and regions; opened again in a process that this object was sent to."""
        if self._opened is None:
            opened = open_scenes(self._data, self._filter, self._workers)
            if data_fingerprint(*opened) != self._fingerprint:
                raise ScenesError(f"the scenes or regions changed while in use: {self._data.scenes[0]}; start again")
            self._opened = opened
        return self._opened

"""RegionViews: the views of `samclr pretrain`, for a training loop of one's own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.config.pretrain import (
    AugmentConfig,
    BankPlace,
    Codec,
    FilterConfig,
    LocalViews,
    PretrainConfig,
    Strategy,
    ViewGroup,
    ViewsConfig,
    view_groups,
)
from samclr.config.serialise import Count, Seed, StepsOrZero, checked
from samclr.errors import ConfigError, ScenesError
from samclr.models.devices import choose_device
from samclr.models.resolve import resolve_config
from samclr.processes.workers import unstated_workers
from samclr.views.batch import ViewBatch
from samclr.views.data import TrainingData, data_of, map_sides, share_held_out, threads, view_data
from samclr.views.loader import ViewLoader
from samclr.views.make_batch import make_batch
from samclr.views.placement import open_cropper


class RegionViews(IterableDataset[ViewBatch]):
    """Augmented views of regions, or of whole images, as ready batches: one ViewBatch a step.

    Scenes are decoded once into a bank in the user's cache (`bank` names another place), which the first use fills.
    Every batch is a pure function of the settings, `seed` and the step, the same one as `samclr pretrain` trains on,
    so a run resumes with `start_step`, and ranks of one size draw disjoint slices of the same global batch.

        views = RegionViews("photos", "photos.regions", batch_size=256, steps=1000)
        for batch in DataLoader(views, batch_size=None):
            first, second = batch.pixels[0].unbind(1)   # [b 3 h w] each, normalised

    Iterating crops ahead in a background thread, so a DataLoader needs no workers. With `num_workers` its workers take
    turns, step by step, and the order stays. The object pickles small: another process opens the bank again.

    Attributes:
        num_images, num_regions: in the bank, and of those the regions that pass the filter (0 without regions).
        normalisation: what the pixels were normalised by.
    """

    def __init__(
        self,
        scenes: str | Path | Sequence[str | Path],
        regions: str | Path | None = None,
        *,
        batch_size: int,
        steps: int,
        size_px: int = 128,
        num_views: int = 2,
        crop_scale: tuple[float, float] = (0.08, 1.0),
        crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        local: LocalViews | None = None,
        map_sides: int | Sequence[int] | None = None,
        strategy: Strategy | None = None,
        views: ViewsConfig | None = None,
        augment: AugmentConfig | None = None,
        filter: FilterConfig | None = None,
        normalisation: Normalisation = IMAGENET,
        seed: int = 0,
        start_step: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        device: str | torch.device = "cpu",
        bank_on: BankPlace = "auto",
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
            regions: a region store of `samclr.segment` or `samclr segment`; None for views of whole images.
            batch_size: images a step, over all ranks; rows are `regions_per_image` times as many.
            steps: length of the whole run; the steps from `start_step` to `steps` - 1 are given.
            size_px: side of a view.
            num_views: views of each region (or image).
            crop_scale: smallest and largest share of a region's padded box, as torchvision's RandomResizedCrop has it.
            crop_ratio: smallest and largest width over height, likewise.
            local: further, smaller views as DINO has them: a second group in `batch.pixels`.
            map_sides: cells along the side of the backbone's feature map of a view, for each group if there are two;
                with views that carry regions (ViewsConfig.carried_regions), whose shares of the cells are given.
            strategy: image, region or random-box; by default region where regions are named, else image.
            views: everything else about where views come from; names its strategy itself.
            augment: SimCLR's augmentation, with shares and strengths.
            filter: which regions are seen, and their padding.
            normalisation: mean and deviation of red, green and blue, values from 0 to 1.
            seed: for image order, regions, boxes and colours.
            rank: which slice of each batch is given; by default that of torch.distributed, if it is up.
            world_size: how many slices there are; by default likewise.
            device: where views are augmented and given: cpu, or cuda, whose kernels also crop if the bank fits there.
            bank_on: on CUDA, where the bank lies: auto, device, pinned or map.
            bank: folder of the bank.
            max_side: cap on the longer side in the bank, px.
            codec: raw or jpeg, smaller and slower.
            image_column: column of Parquet files that holds the images.
            exclude: list of images to leave out, one id a line, as `samclr duplicates` writes it.
            held_out: share of the scenes that no view is of: those that `samclr pretrain --held-out` holds out.
            workers: processes that pack, and threads that crop; by default one per core. A script without a guard
                (`if __name__ == "__main__":`) packs by itself.

        Raises:
            ConfigError: a setting is out of its range, or the batch does not divide among the ranks.
            UsageError: the strategy needs regions and none were named, or there is no such device.
            ScenesError: no scene can be used, or files were replaced since they were packed or segmented.
            PartsError: the region store or bank cannot be read, or lacks some of the scenes.
        """
        if views is not None and strategy is not None:
            raise ConfigError(f"strategy is {strategy!r} beside views; give one of the two: views has a strategy")
        self._views = views or ViewsConfig(strategy=strategy or ("image" if regions is None else "region"))
        self._data = data_of(scenes, regions, bank, max_side, codec, image_column, exclude, held_out)
        group = ViewGroup(num_views=num_views, size_px=size_px, crop_scale=crop_scale, crop_ratio=crop_ratio)
        self._groups = view_groups(group, local or LocalViews())
        self._map_sides = _map_sides(map_sides, self._views.carried_regions, len(self._groups))
        self._filter, self._augment = filter or FilterConfig(), augment or AugmentConfig()
        self.normalisation, self.seed = normalisation, checked(Seed, seed, "seed")
        batch_size = self.batch_size = checked(Count, batch_size, "batch_size")
        steps = self.steps = checked(StepsOrZero, steps, "steps")
        self.start_step = checked(int, start_step, "start_step")
        self.rank, self.world_size = _ranks(rank, world_size)
        self.device = choose_device(device) if isinstance(device, str) else device
        self._bank_on: BankPlace = checked(BankPlace, bank_on, "bank_on")
        self._num_threads = threads(workers)
        self._num_workers = self._num_threads if workers is not None else unstated_workers(self._num_threads)
        if batch_size % self.world_size:
            raise ConfigError(
                f"batch_size is {batch_size}; expected a multiple of world_size, {self.world_size}", "batch_size"
            )
        _check_start(start_step, steps)
        self._opened: TrainingData | None = self._open()
        self._fingerprint = self._opened.fingerprint
        self.num_images = self._opened.bank.num_images
        self.num_regions = 0 if self._opened.regions is None else len(self._opened.regions.area_px)

    @classmethod
    def from_config(
        cls,
        config: PretrainConfig,
        *,
        start_step: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        device: str | torch.device = "cpu",
    ) -> "RegionViews":
        """The views that `samclr.pretrain(config, ...)` trains on, bit for bit.

        Scenes that the configuration excludes or holds out give none. Where it leaves `held_out` open, that is as in a
        new run.

        Raises:
            ConfigError: a setting is out of its range, or the backbone takes no such views; else as the constructor.
        """
        config = resolve_config(config, tell=False)
        normalisation = config.model.normalisation
        views = cls(
            config.data.scenes,
            config.data.regions,
            batch_size=config.optim.global_batch_size,
            steps=max(config.optim.steps, start_step),
            size_px=config.group.size_px,
            num_views=config.group.num_views,
            crop_scale=config.group.crop_scale,
            crop_ratio=config.group.crop_ratio,
            local=config.local,
            map_sides=map_sides(config),
            views=config.views,
            augment=config.augment,
            filter=config.filter,
            normalisation=IMAGENET if normalisation is None else normalisation,
            seed=config.seed,
            start_step=start_step,
            rank=rank,
            world_size=world_size,
            device=device,
            bank_on=config.runtime.bank_on,
            bank=config.data.bank,
            max_side=config.data.max_side,
            codec=config.data.codec,
            image_column=config.data.image_column,
            exclude=config.data.exclude,
            held_out=share_held_out(config),
            workers=config.runtime.workers,
        )
        views.steps = config.optim.num_steps(views.num_images)  # where the length is given in epochs
        _check_start(start_step, views.steps)
        return views

    def __len__(self) -> int:
        """Batches that an iteration gives."""
        return max(self.steps - self.start_step, 0)

    def __iter__(self) -> Iterator[ViewBatch]:
        """The batches from `start_step` on, on `device`. In a DataLoader's worker, those whose turn it is.

        Raises:
            PartsError: pixels of the bank, or the region index, are damaged.
            RunError: the bank cannot be put where `bank_on` says.
        """
        worker = get_worker_info()
        steps = range(self.start_step, self.steps)
        if worker is not None:
            if self.device.type != "cpu":
                raise ConfigError(
                    f"device is {self.device}; a DataLoader's workers make views on the CPU: give num_workers=0 "
                    f"to the DataLoader, or device='cpu'"
                )
            steps = steps[worker.id :: worker.num_workers]
        data = self._source()
        threads = 1 if worker is not None else self._num_threads
        cropper, _ = open_cropper(data.bank, self.device, self._bank_on, threads)
        pin = self.device.type == "cuda"
        loader = ViewLoader(data.planner, cropper, steps, rank=self.rank, world_size=self.world_size, pin_memory=pin)
        for plan, crops in loader:
            yield make_batch(plan, crops, self.device, self.normalisation)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _open(self) -> TrainingData:
        return view_data(
            self._data,
            self._filter,
            self._views,
            self._groups,
            self._augment,
            seed=self.seed,
            images_per_step=self.batch_size,
            num_workers=self._num_workers,
            map_sides=self._map_sides,
        )

    def _source(self) -> TrainingData:
        """Bank, regions and planner; opened again in a process that this object was sent to."""
        if self._opened is None:
            opened = self._open()
            if opened.fingerprint != self._fingerprint:
                raise ScenesError(f"the scenes or regions changed while in use: {self._data.scenes[0]}; start again")
            self._opened = opened
        return self._opened


def _map_sides(sides: int | Sequence[int] | None, carried: int, num_groups: int) -> tuple[int, ...]:
    given = () if sides is None else (sides,) if isinstance(sides, int) else tuple(sides)
    if carried and (len(given) != num_groups or min(given) < 1):
        raise ConfigError(
            f"map_sides is {sides}; views that carry {carried} regions need the number of cells along the backbone's "
            f"feature map, one for each of {num_groups} view groups (224 px through a ResNet: 7)",
            "map_sides",
        )
    return given if carried else ()


def _check_start(start_step: int, steps: int) -> None:
    if not 0 <= start_step <= steps:
        raise ConfigError(f"start_step is {start_step}; expected 0 to steps, {steps}", "start_step")


def _ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise ConfigError("rank or world_size is given alone; expected both or neither")
    if rank is None or world_size is None:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return 0, 1
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is {rank}; expected 0 to {world_size - 1}", "rank")
    return rank, world_size

"""From settings to what views are made of: the bank, the region index and the planner over them."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from samclr.bank.bank import KIND, SceneBank, pack_scenes
from samclr.bank.places import default_bank, refuse_inside_scenes
from samclr.config.cache import cache_folder
from samclr.config.pretrain import (
    AugmentConfig,
    Codec,
    DataConfig,
    FilterConfig,
    PretrainConfig,
    ViewGroup,
    ViewsConfig,
)
from samclr.config.serialise import Threads, checked
from samclr.config.sizing import usual_held_out
from samclr.datasets.names import absolute_data, scene_paths
from samclr.datasets.scene_lists import left_in
from samclr.datasets.sources import list_data
from samclr.errors import ScenesError, name_some
from samclr.log import option_of, say_once
from samclr.processes.workers import unstated_workers
from samclr.regions.index import RegionIndex, open_index
from samclr.regions.store import open_store
from samclr.scenes.fill import FillOptions
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import OK, PartsFolder
from samclr.views.plan import ViewPlanner
from samclr.views.sources import regions_wanted

LOOSENED = ("min_area_px", "min_area_frac", "max_area_frac", "min_box_px")


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Everything a run reads. `fingerprint` changes with any image, box of a region or filter setting.

    regions_maker: the segmenter of the regions, and its settings. num_held_out: scenes that are not trained on.
    """

    bank: SceneBank
    regions: RegionIndex | None
    planner: ViewPlanner
    fingerprint: str
    regions_maker: dict[str, Any] | None = None
    num_held_out: int = 0

    @cached_property
    def scenes_fingerprint(self) -> str:
        """Changes with any image, as runs with and without regions have it."""
        return self.fingerprint if self.regions is None else data_fingerprint(self.bank, None)

    @cached_property
    def masks_fingerprint(self) -> str | None:
        """Changes with any mask; beside `fingerprint`, which older runs have alone. None without regions."""
        return None if self.regions is None else self.regions.masks_fingerprint()

    def fingerprints(self) -> dict[str, str]:
        """By the names that the summary of a run has them under."""
        found = {"data_fingerprint": self.fingerprint, "scenes_fingerprint": self.scenes_fingerprint}
        masks = self.masks_fingerprint
        return found if masks is None else found | {"masks_fingerprint": masks}

    def facts(self) -> dict[str, Any]:
        """What the summary of a run says of it."""
        found: dict[str, Any] = self.fingerprints() | {"data": self.counts()}
        return found if self.regions_maker is None else found | {"regions_maker": self.regions_maker}

    def counts(self) -> dict[str, int]:
        """Numbers for the summary and the report."""
        counts = {"images": self.bank.num_images, "unreadable_images": len(self.bank.errors)}
        if self.regions is not None:
            counts["regions"] = len(self.regions.area_px)
            counts["images_without_regions"] = int((self.regions.start[1:] == self.regions.start[:-1]).sum())
            counts["segment_errors"] = self.regions.segment_errors
        if self.num_held_out:
            counts["images_held_out"] = self.num_held_out
        return counts


def num_workers(config: PretrainConfig) -> int:
    """Processes and threads of one rank for work on images."""
    return config.runtime.workers or max(1, (os.cpu_count() or 1) // config.runtime.num_devices)


def bank_path(config: PretrainConfig) -> Path:
    """The bank that a configuration uses."""
    return bank_of(config.data)


def bank_of(data: DataConfig) -> Path:
    """The bank named, else one in the user's cache."""
    return data.bank or default_bank(data.scenes, data.max_side, data.codec)


def prepare_data(config: PretrainConfig) -> TrainingData:
    """Pack what is not packed yet, map bank and index, make the planner.

    Raises:
        UsageError: the strategy needs regions and none were named, or the bank lies inside the scenes.
        ScenesError: no scene can be used, the filter keeps no region, or files were replaced.
    """
    return view_data(
        config.data,
        config.filter,
        config.views,
        config.groups,
        config.augment,
        seed=config.seed,
        images_per_step=config.optim.global_batch_size,
        num_workers=config.runtime.workers or unstated_workers(num_workers(config)),
        map_sides=map_sides(config),
    )


def map_sides(config: PretrainConfig) -> tuple[int, ...]:
    """Cells along each side of the backbone's feature map, of each view group; none where views carry no regions.

    Raises:
        ConfigError: the backbone has no feature maps, or none of views of this size.
    """
    if config.views.carried_regions == 0:
        return ()
    from samclr.models.maps import map_side  # here, as timm takes a while to import

    return tuple(map_side(config.model, group.size_px) for group in config.groups)


def data_of(
    scenes: str | Path | Sequence[str | Path],
    regions: str | Path | None,
    bank: str | Path | None,
    max_side: int | None,
    codec: Codec,
    image_column: str | None,
    exclude: str | Path | None,
    held_out: float,
) -> DataConfig:
    """What a caller of the library names to be read, with absolute paths. Raises ConfigError, ScenesError."""
    found = DataConfig(
        scenes=scene_paths(scenes),
        image_column=image_column,
        regions=None if regions is None else Path(regions),
        bank=None if bank is None else Path(bank),
        max_side=max_side,
        codec=codec,
        exclude=None if exclude is None else Path(exclude),
        held_out=held_out,
    )
    return absolute_data(found)


def threads(workers: int | None) -> int:
    """Threads and processes that a caller of the library names, by default one per core. Raises ConfigError."""
    return checked(Threads | None, workers, "workers") or os.cpu_count() or 1


def view_data(
    data: DataConfig,
    region_filter: FilterConfig,
    views: ViewsConfig,
    groups: tuple[ViewGroup, ...],
    augment: AugmentConfig,
    *,
    seed: int,
    images_per_step: int,
    num_workers: int,
    map_sides: tuple[int, ...] = (),
) -> TrainingData:
    """See `prepare_data`."""
    regions_wanted(data, views)
    bank, num_held_out = _open_bank(data, num_workers)
    if views.background_mix_prob > 0 and bank.num_images == 1:
        say_once(
            f"{option_of('background_mix_prob')} {views.background_mix_prob:g} has no effect here: backgrounds come "
            f"from other images, and there is one"
        )
    regions = _open_regions(bank, data, region_filter, num_workers) if views.reads_regions else None
    planner = ViewPlanner(
        image_hw=bank.native_hw,
        bank_hw=bank.bank_hw,
        regions=regions,
        seed=seed,
        images_per_step=images_per_step,
        views=views,
        groups=groups,
        augment=augment,
        map_sides=map_sides,
    )
    return TrainingData(
        bank=bank,
        regions=regions,
        planner=planner,
        fingerprint=data_fingerprint(bank, regions),
        regions_maker=None if regions is None or data.regions is None else open_store(data.regions).maker,
        num_held_out=num_held_out,
    )


def open_scenes(
    data: DataConfig, region_filter: FilterConfig, num_workers: int, with_regions: bool = True, held_out: bool = False
) -> tuple[SceneBank, RegionIndex | None]:
    """Pack what is not packed yet, and map the bank and, where regions are named and wanted, their index.

    Raises:
        ScenesError: no scene can be used, the filter keeps no region, or files were replaced.
    """
    bank, _ = _open_bank(data, num_workers, held_out)
    return bank, _open_regions(bank, data, region_filter, num_workers, held_out) if with_regions else None


def _open_regions(
    bank: SceneBank, data: DataConfig, region_filter: FilterConfig, num_workers: int, held_out: bool = False
) -> RegionIndex | None:
    if data.regions is None:
        return None
    index = open_index(bank, open_store(data.regions), region_filter, cache_folder(), num_workers)
    if held_out and not len(index.area_px):
        return None
    if not len(index.area_px):
        given = ", ".join(f"{option_of(name)} (it is {getattr(region_filter, name)})" for name in LOOSENED)
        raise ScenesError(
            f"no region of {data.regions} passes the filter, in {bank.num_images:,} images; loosen {given}, or segment "
            f"the scenes anew"
        )
    return index


def open_held_out(config: PretrainConfig) -> tuple[SceneBank, RegionIndex | None]:
    """The scenes that a run does not train on, and their regions where it reads some. Raises as `open_scenes`."""
    workers = config.runtime.workers or unstated_workers(num_workers(config))
    return open_scenes(config.data, config.filter, workers, config.views.reads_regions, held_out=True)


def trained_scenes(data: DataConfig, refs: Sequence[SceneRef] | None = None) -> Sequence[SceneRef]:
    """The scenes that are trained on, in the order of their numbers, those that cannot be decoded among them.

    refs: the images of `data.scenes`, where they are listed already.

    Raises:
        ScenesError: as `list_data`, or none would be left to train on.
    """
    if refs is None:
        refs = list_data(data)
    elif data.exclude is not None:
        refs = left_in(refs, data.exclude)
    return _sides(data, refs)[0]


def _sides(data: DataConfig, refs: Sequence[SceneRef]) -> tuple[Sequence[SceneRef], Sequence[SceneRef]]:
    """The scenes that are trained on, and those that are held out: the first by a hash of their ids.

    Raises:
        ScenesError: none would be left to train on.
    """
    refuse_too_few(data, len(refs))
    num = data.num_held_out(len(refs))
    if num == 0:
        return refs, []
    order = sorted(range(len(refs)), key=lambda number: hashlib.sha256(refs[number].image_id.encode()).digest())
    held = set(order[:num])
    return [ref for number, ref in enumerate(refs) if number not in held], [refs[number] for number in sorted(held)]


def share_held_out(config: PretrainConfig, refs: Sequence[SceneRef] = ()) -> float:
    """The share of the scenes that a new run holds out: where that is left open the recipe's, and nothing of one scene.

    refs: the scenes, where they are listed.
    """
    if config.data.held_out is not None:
        return config.data.held_out
    share = usual_held_out(config)
    if share and len(refs or list_data(config.data)) == 1:
        say_once("one scene is too few to hold any out; start and end are not compared")
        return 0.0
    return share


def refuse_too_few(data: DataConfig, num_scenes: int) -> None:
    """Raise ScenesError if none of so many scenes would be left to train on."""
    if data.num_trained(num_scenes) < 1:
        scenes = "one scene is" if num_scenes == 1 else f"{num_scenes} scenes are"
        raise ScenesError(f"{scenes} too few to hold any out; give {option_of('held_out')} 0, or more scenes")


def num_usable(data: DataConfig, refs: Sequence[SceneRef]) -> int:
    """Of the listed scenes those that are trained on, but what the bank, where there is one, has as undecodable."""
    path, num_trained = bank_of(data), data.num_trained(len(refs))
    if num_trained < 1 or not (path / "manifest.json").exists():
        return num_trained
    trained = {ref.image_id for ref in _sides(data, refs)[0]}
    damaged: dict[Path, str] = {}  # pack makes them anew
    for _, rows in PartsFolder(path, KIND).parts(["image_id", "status"], damaged=damaged):
        found = zip(rows["image_id"].to_pylist(), rows["status"].to_pylist(), strict=True)
        trained -= {image_id for image_id, status in found if status != OK}
    return len(trained)


def data_fingerprint(bank: SceneBank, regions: RegionIndex | None) -> str:
    """Sixteen hex digits that change with any image, box of a region or filter setting."""
    digest = hashlib.sha256()
    for number, (_, content_hash) in enumerate(bank.names()):
        digest.update((f"\n{content_hash}" if number else content_hash).encode())
    if regions is not None:
        digest.update(regions.box_xyxy.data)
        digest.update(regions.start.data)
    return digest.hexdigest()[:16]


def _open_bank(data: DataConfig, num_workers: int, held_out: bool = False) -> tuple[SceneBank, int]:
    """List and pack the scenes, open those that are trained on or those that are held out, and count the latter.

    The list, some hundreds of bytes an image, is given up here.
    """
    refs: Sequence[SceneRef] = list_data(data)
    path = bank_of(data)
    refuse_inside_scenes(path, data.scenes, option_of("bank"))
    pack_scenes(refs, path, data.max_side, FillOptions(num_workers=num_workers), data.codec)
    sides = _sides(data, refs)
    refs = sides[held_out]
    bank = SceneBank(path, refs)
    if bank.num_images == 0:
        first = next(iter(bank.errors.items()))
        what = f"{len(refs)} scenes that are held out" if held_out else f"{len(refs)} images"
        raise ScenesError(f"none of the {what} can be used: {name_some([': '.join(first)])}")
    return bank, len(sides[1])

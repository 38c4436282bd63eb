"""From settings to what a step needs: the bank, the region index and the planner over them."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.bank.places import default_bank, refuse_inside_scenes
from samclr.config.cache import cache_folder
from samclr.config.pretrain import PretrainConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError, UsageError, name_some
from samclr.regions.index import RegionIndex, open_index
from samclr.regions.store import open_store
from samclr.scenes.fill import FillOptions
from samclr.views.plan import ViewPlanner


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Everything a run reads. `fingerprint` changes with any image, region or filter setting."""

    bank: SceneBank
    regions: RegionIndex | None
    planner: ViewPlanner
    fingerprint: str

    def counts(self) -> dict[str, int]:
        """Numbers for the summary and the report."""
        counts = {"images": self.bank.num_images, "unreadable_images": len(self.bank.errors)}
        if self.regions is not None:
            counts["regions"] = len(self.regions.area_px)
            counts["images_without_regions"] = int((self.regions.start[1:] == self.regions.start[:-1]).sum())
            counts["segment_errors"] = self.regions.segment_errors
        return counts


def num_workers(config: PretrainConfig) -> int:
    """Processes and threads of one rank for work on images."""
    return config.runtime.workers or max(1, (os.cpu_count() or 1) // config.runtime.num_devices)


def bank_path(config: PretrainConfig) -> Path:
    """The bank that a configuration uses."""
    return config.data.bank or default_bank(config.data.scenes, config.data.max_side, config.data.codec)


def prepare_data(config: PretrainConfig) -> TrainingData:
    """Pack what is not packed yet, map bank and index, make the planner.

    Raises:
        UsageError: the strategy needs regions and none were named, or the bank lies inside the scenes.
        ScenesError: no scene can be used, or files were replaced.
    """
    if config.views.strategy != "image" and config.data.regions is None:
        raise UsageError(
            f"strategy {config.views.strategy} needs regions: run `samclr segment SCENES --out STORE` (the paper's "
            f"segmenter is --segmenter sam-hq-vit-h) and add --regions STORE"
        )
    bank = _open_bank(config)
    regions = None
    if config.data.regions is not None and config.views.strategy != "image":
        regions = open_index(bank, open_store(config.data.regions), config.filter, cache_folder(), num_workers(config))
    planner = ViewPlanner(
        image_hw=bank.native_hw,
        regions=regions,
        seed=config.seed,
        images_per_step=config.optim.global_batch_size,
        views=config.views,
        groups=config.groups,
        augment=config.augment,
    )
    digest = hashlib.sha256()
    for number, (_, content_hash) in enumerate(bank.names()):
        digest.update((f"\n{content_hash}" if number else content_hash).encode())
    if regions is not None:
        digest.update(regions.box_xyxy.data)
        digest.update(regions.start.data)
    return TrainingData(bank=bank, regions=regions, planner=planner, fingerprint=digest.hexdigest()[:16])


def _open_bank(config: PretrainConfig) -> SceneBank:
    """List and pack the scenes. The list, some hundreds of bytes an image, is given up here."""
    refs = list_scenes(config.data.scenes, config.data.image_column)
    path = bank_path(config)
    refuse_inside_scenes(path, config.data.scenes, "--bank")
    pack_scenes(refs, path, config.data.max_side, FillOptions(num_workers=num_workers(config)), config.data.codec)
    bank = SceneBank(path, refs)
    if bank.num_images == 0:
        first = next(iter(bank.errors.items()))
        raise ScenesError(f"none of the {len(refs)} images can be used: {name_some([': '.join(first)])}")
    return bank

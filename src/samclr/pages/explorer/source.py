"""What the explorer was started with, opened: scenes, store, bank and run."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from samclr.bank.bank import SceneBank, capped_hw
from samclr.bank.places import default_bank
from samclr.config.explorer import ExplorerData
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import RECIPES
from samclr.datasets.names import short_name
from samclr.datasets.sources import list_scenes
from samclr.embedding.own_scenes import scenes_of
from samclr.embedding.vectors import Vectors
from samclr.errors import PartsError, RegionError
from samclr.log import tell
from samclr.pages.explorer.asked import Sampling
from samclr.pages.explorer.caches import ByteCache, Kept
from samclr.pages.explorer.catalogue import Catalogue
from samclr.pages.explorer.commands import Commands
from samclr.pages.explorer.objects import Objects
from samclr.pages.explorer.patch_colours import PatchColours
from samclr.pages.explorer.pictures import NO_NUMBER, Pictures
from samclr.pages.explorer.sampling import SceneSampler, Shares
from samclr.pages.explorer.trained import LEFT_OUT, scenes_in_training
from samclr.pages.explorer.twice import NearDuplicates
from samclr.regions.columns import open_columns
from samclr.regions.records import ImageRegions, SegmentError
from samclr.regions.store import open_store, read_bucket, read_regions
from samclr.runs.saved import load_config
from samclr.scenes.buckets import buckets_of
from samclr.scenes.decode import DecodeError
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder

REGION_BYTES = 1000  # of a region in memory, beside its run lengths
SAMPLE_SCENES, SAMPLE_SEED = 100, 0  # of which the views are counted for the whole set
KEPT_SHARES = 32
SCENES_SHARE = 0.25  # of the memory; pictures have the rest


@dataclass(frozen=True, kw_only=True)
class Opened:
    """One scene with its regions, or why there are none."""

    number: int
    found: ImageRegions | None
    error: str | None


class Source:
    """Everything that is read; nothing is written but to the user's cache."""

    def __init__(
        self, scenes: Sequence[Path], data: ExplorerData, *, image_column: str | None = None, memory_mb: int = 256
    ):
        """Open what was named. scenes: none where the vectors are to tell theirs.

        Raises:
            ScenesError: no scenes. RunError, PartsError: what was named is no run, region store or bank.
        """
        self.run_config: PretrainConfig | None = None if data.run is None else load_config(data.run)
        self.store: PartsFolder | None = None if data.regions is None else open_store(data.regions)
        vectors = None if data.vectors is None else Vectors(data.vectors)
        if not scenes and vectors is not None:
            found = scenes_of(vectors, (), None, "an explorer shows scenes", "name them: samclr explore PATH...")
            scenes, image_column = found[0], image_column or found[1]
        refs = list_scenes(scenes, image_column)
        columns = None if self.store is None else open_columns(self.store, [ref.image_id for ref in refs])
        trained = scenes_in_training(refs, scenes, image_column, self.run_config)
        self.bank = open_bank(scenes, trained, data.bank, self.run_config)
        limit = memory_mb * 1_000_000
        self.objects = None if vectors is None else Objects(vectors, [ref.image_id for ref in refs], columns)
        self.patch_colours = None if data.run is None else PatchColours(data.run)
        self.pictures = Pictures(refs, self.bank, trained, int(limit * (1 - SCENES_SHARE)))
        has_any = vectors is not None or data.duplicates is not None
        self.twice = NearDuplicates(refs, vectors, data.duplicates) if has_any else None
        self.catalogue = Catalogue(refs, columns, self.bank, self.pictures.bank_number, self.twice)
        self.commands = Commands(scenes, data.regions, data.run, image_column)
        self.name = ", ".join(short_name(path) for path in scenes)
        self.begun = Sampling.of(self.run_config or RECIPES["simclr" if self.store is None else "samclr"].config)
        self.catalogue.counted(self.begun.filter)  # which the first page asks for
        self._scenes = ByteCache[Opened](int(limit * SCENES_SHARE), _bytes_of)
        self._reading = threading.Lock()
        self._set_shares = Kept(KEPT_SHARES)

    def close(self) -> None:
        """Let go of what works in the background."""
        if self.twice is not None:
            self.twice.close()

    @property
    def max_side(self) -> int | None:
        """The cap on sizes that views are cropped under where there is no bank."""
        return None if self.run_config is None else self.run_config.data.max_side

    def opened(self, number: int) -> Opened:
        """One scene and its regions."""
        return self._scenes.get(number, lambda: self._open(number))

    def sampler(self, number: int, sampling: Sampling) -> SceneSampler | str:
        """The views of a scene, or why there are none."""
        opened = self.opened(number)
        image = int(self.pictures.bank_number[number])
        if image == NO_NUMBER:
            return f"training leaves this scene out: {self.catalogue.errors.get(number, LEFT_OUT)}"
        if sampling.views.strategy != "image" and self.store is None:
            return f"strategy {sampling.views.strategy} needs regions: start samclr explore with --regions STORE"
        if sampling.views.background_mix_prob > 0 and self.bank is None:
            return "backgrounds come from other scenes, which needs a bank: run samclr pack on the scenes first"
        image_hw, bank_hw = self._sizes(number)
        return SceneSampler(image=image, image_hw=image_hw, bank_hw=bank_hw, found=opened.found, sampling=sampling)

    def set_shares(self, sampling: Sampling) -> dict[str, Any]:
        """Counts of the views of a sample of the scenes, each as training first shows it, or why there are none."""
        result: dict[str, Any] = self._set_shares.get(sampling, lambda: self._count_set(sampling))
        return result

    def _count_set(self, sampling: Sampling) -> dict[str, Any]:
        decoded = np.flatnonzero(self.pictures.bank_number != NO_NUMBER)
        drawn = np.random.default_rng(SAMPLE_SEED).permutation(decoded)[:SAMPLE_SCENES]
        total, num_scenes, why_not = Shares(), 0, dict[str, int]()
        for number in np.sort(drawn).tolist():
            try:
                sampler = self.sampler(number, sampling)
            except (DecodeError, PartsError, RegionError) as error:  # which the scene itself tells when it is opened
                sampler = str(error)
            if isinstance(sampler, str):
                why_not[sampler] = why_not.get(sampler, 0) + 1
                continue
            total, num_scenes = total + sampler.shares(sampler.visit(0), 1), num_scenes + 1
        left_out = sum(why_not.values())
        if num_scenes == 0:
            return {"why_not": next(iter(why_not), "no scene can be decoded")}
        sample = {"scenes": num_scenes, "left_out": left_out, "of_scenes": len(decoded), "seed": SAMPLE_SEED}
        return sample | vars(total)

    def facts(self) -> dict[str, Any]:
        """What the page says of the whole set."""
        catalogue = self.catalogue
        maker = {} if self.store is None else {name: str(value) for name, value in self.store.maker.items()}
        return {
            "name": self.name,
            "num_scenes": len(catalogue.ids),
            "num_regions": int(catalogue.num_regions.sum()),
            "num_errors": len(catalogue.errors),
            "has_regions": self.store is not None,
            "has_bank": self.bank is not None,
            "has_run": self.run_config is not None,
            "recipe": None if self.run_config is None else self.run_config.recipe,
            "has_vectors": self.objects is not None,
            "has_duplicates": self.twice is not None,
            "maker": maker,
        }

    def _open(self, number: int) -> Opened:
        ref = self.catalogue.refs[number]
        error = self.catalogue.errors.get(number)
        if self.store is None or self.catalogue.columns is None or number in self.catalogue.columns.errors:
            return Opened(number=number, found=None, error=error)
        import pyarrow.compute as pc  # here, as it takes a while to import

        try:
            with self._reading:  # a bucket in memory at a time
                rows = read_bucket(self.store, int(self._buckets[number]))
                rows = rows.filter(pc.equal(rows["image_id"], ref.image_id)).to_pylist()
            found = read_regions(rows[0]) if rows else SegmentError(image_id=ref.image_id, message="its row is gone")
        except (PartsError, RegionError) as damaged:
            found = SegmentError(image_id=ref.image_id, message=str(damaged))
        if isinstance(found, SegmentError):
            return Opened(number=number, found=None, error=found.message)
        return Opened(number=number, found=found, error=error)

    @cached_property
    def _buckets(self) -> Int[np.ndarray, "n"]:
        """The bucket of the store that has each scene's row."""
        assert self.store is not None
        return np.array(buckets_of(self.store, self.catalogue.refs), np.int32)

    def _sizes(self, number: int) -> tuple[Int[np.ndarray, "n 2"], Int[np.ndarray, "n 2"]]:
        """Native sizes of all images that training sees, as the bank numbers them, and those in the bank. Without a
        bank those of this one for all, which decides nothing of its rows."""
        if self.bank is not None:
            return self.bank.native_hw, self.bank.bank_hw
        hw = self.catalogue.native_hw[number]
        if not hw.all():
            hw = self.pictures.source(number, self.max_side).native_hw[number]
        in_bank = capped_hw(int(hw[0]), int(hw[1]), self.max_side)
        native_hw, bank_hw = (
            np.broadcast_to(np.asarray(one), (self.pictures.num_numbered, 2)) for one in (hw, in_bank)
        )
        return native_hw, bank_hw


def open_bank(
    scenes: Sequence[Path], refs: Sequence[SceneRef], named: Path | None, config: PretrainConfig | None
) -> SceneBank | None:
    """The bank that was named, else the run's, else that of the scenes in the user's cache, where it holds them all.

    Raises:
        PartsError: a bank was named and cannot be used.
    """
    if named is not None:
        return SceneBank(named, refs)
    data = None if config is None else config.data
    if data is not None:
        path = data.bank or default_bank(data.scenes or scenes, data.max_side, data.codec)
    else:
        path = default_bank(scenes, None)
    if not path.exists():
        return None
    try:
        bank = SceneBank(path, refs)
    except PartsError as error:
        tell(f"the bank {path} is not used: {error}")
        return None
    return bank if bank.num_images else None


def _bytes_of(opened: Opened) -> int:
    regions = () if opened.found is None else opened.found.regions
    return REGION_BYTES + sum(REGION_BYTES + len(region.rle) for region in regions)

"""The scenes as the grid shows them: names, sizes, counts of regions; sorted and chosen; counted under a filter."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from samclr.bank.bank import SceneBank
from samclr.config.views import FilterConfig
from samclr.errors import ConfigError
from samclr.pages.explorer.caches import Kept
from samclr.pages.explorer.pictures import NO_NUMBER
from samclr.pages.explorer.twice import NearDuplicates
from samclr.regions.columns import SCORES, RegionColumns
from samclr.scenes.refs import SceneRef

Sort = Literal["name", "most", "fewest", "most-kept", "fewest-kept", "largest", "smallest", "worst-score"]
Show = Literal["all", "errors", "no-regions", "none-kept", "many", "duplicates"]
AREA_BINS = np.linspace(-5, 0, 41)  # log10 of the share of the image
SCORE_BINS = np.linspace(0.5, 1, 41)
COUNT_BINS = np.array([0, 1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 1000, 10**9])
KEPT_RESULTS = 12  # orders and counts, each of a few bytes an image
NO_SCORE = len(SCORE_BINS) - 1  # the bin after the last


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which scenes are shown, and in which order. least: regions that `many` asks for. name: part of a name."""

    sort: Sort = "name"
    show: Show = "all"
    least: int = 50
    name: str = ""

    def __post_init__(self) -> None:
        for setting, known in (("sort", get_args(Sort)), ("show", get_args(Show))):
            if getattr(self, setting) not in known:
                raise ConfigError(f"{setting} is {getattr(self, setting)[:40]!r}; expected one of {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The set under a filter. kept_by_limits [n]: regions of each image within the limits of area and size."""

    kept_by_limits: Int[np.ndarray, "n"]
    facts: dict[str, Any]


class Catalogue:
    """n scenes in the order of their ids, and what store, bank and near-duplicates say of them."""

    def __init__(
        self,
        refs: list[SceneRef],
        columns: RegionColumns | None,
        bank: SceneBank | None,
        bank_number: Int[np.ndarray, "n"],
        twice: NearDuplicates | None = None,
    ):
        self.twice = twice
        self.refs, self.columns = refs, columns
        self.ids = [ref.image_id for ref in refs]
        self.errors = dict(columns.errors) if columns is not None else {}
        self.native_hw = np.zeros((len(refs), 2), np.int64) if columns is None else columns.native_hw.astype(np.int64)
        if bank is not None:
            decoded = bank_number != NO_NUMBER
            self.native_hw[decoded] = bank.native_hw[bank_number[decoded]]
            undecoded = np.flatnonzero(~decoded).tolist()
            named = {number: bank.errors.get(self.ids[number]) for number in undecoded}
            self.errors |= {number: error for number, error in named.items() if error is not None}
        self.num_regions = np.zeros(len(refs), np.int64) if columns is None else np.diff(columns.start)
        self._results = Kept(KEPT_RESULTS)
        self._binned, self._bins = ([], np.zeros((0, 0), np.uint8)) if columns is None else _bins_of(columns)
        self._before = [] if columns is None else self._tally(np.ones(len(columns.area_px), bool))[1]

    def find(self, image_id: str) -> int | None:
        """The number of the scene that has exactly this id."""
        place = bisect_left(self.ids, image_id)
        return place if place < len(self.ids) and self.ids[place] == image_id else None

    def counted(self, config: FilterConfig) -> Counted | None:
        """Counts and histograms of the whole set under a filter; None without regions."""
        return None if self.columns is None else self._results.get(config, lambda: self._count(config))

    def order(self, choice: Choice, config: FilterConfig) -> Int[np.ndarray, "n"]:
        """Numbers of the scenes shown, in their order."""
        key = choice, config, self._twice().state if choice.show == "duplicates" else None
        found: np.ndarray = self._results.get(key, lambda: self._sorted(choice, config))
        return found

    def _sorted(self, choice: Choice, config: FilterConfig) -> Int[np.ndarray, "n"]:
        counted = self.counted(config)
        kept = self.num_regions if counted is None else counted.kept_by_limits
        failed = np.zeros(len(self.ids), bool)
        failed[list(self.errors)] = True
        shown = {
            "all": np.ones(len(self.ids), bool),
            "errors": failed,
            "no-regions": (self.num_regions == 0) & ~failed,
            "none-kept": (kept == 0) & ~failed,
            "many": self.num_regions >= choice.least,
            "duplicates": np.zeros(len(self.ids), bool) if self.twice is None else self.twice.group >= 0,
        }[choice.show]
        if choice.name:
            part = choice.name.casefold()
            shown = shown & np.array([part in image_id.casefold() for image_id in self.ids], bool)
        numbers = np.flatnonzero(shown)
        if choice.sort == "name":
            return numbers if choice.show != "duplicates" else numbers[np.argsort(self._twice().rank[numbers])]
        values = {
            "most": -self.num_regions,
            "fewest": self.num_regions,
            "most-kept": -kept,
            "fewest-kept": kept,
            "largest": -self.native_hw.prod(1),
            "smallest": self.native_hw.prod(1),
        }.get(choice.sort)
        return numbers[np.argsort((self._mean_scores() if values is None else values)[numbers], kind="stable")]

    def _twice(self) -> NearDuplicates:
        if self.twice is None:
            raise ConfigError("near-duplicates are known by --vectors or --duplicates: start samclr explore so", "show")
        return self.twice

    def _mean_scores(self) -> Float[np.ndarray, "n"]:
        """Mean predicted IoU of each image's regions, infinite where there is none."""
        if self.columns is None:
            return np.full(len(self.ids), np.inf)
        scores = self.columns.predicted_iou.astype(np.float64)
        known = ~np.isnan(scores)
        total = _sums(np.where(known, scores, 0), self.columns.start)
        count = _sums(known, self.columns.start)
        return np.where(count > 0, total / np.maximum(count, 1), np.inf)

    def _count(self, config: FilterConfig) -> Counted:
        columns = self.columns
        assert columns is not None
        by_area, wanted = columns.within_limits(config)
        kept, after = self._tally(wanted)
        failed = len(self.errors)
        in_sample = columns.sample_region
        sample_kept = int(columns.sample_kept(config).sum())
        sample_wanted = int(wanted[in_sample].sum())
        pairs = zip(self._before, after, strict=True)
        bars = [{"before": all_bars, "after": own} for all_bars, own in pairs]
        counts = {"before": _count_bars(self.num_regions), "after": _count_bars(kept)}
        histograms = dict(zip(self._binned, bars, strict=True)) | {"count": counts}
        within = int(kept.sum())
        facts = {
            "num_regions": len(wanted),
            "dropped_by_area": len(wanted) - int(by_area.sum()),
            "dropped_by_size": int(by_area.sum()) - within,
            "within_limits": within,
            "images_without": int((kept == 0).sum()) - failed,
            "num_images": len(kept) - failed,
            "sample_images": len(columns.sampled),
            "sample_regions": sample_wanted,
            "sample_contained": sample_wanted - sample_kept,
            "sample_is_all": len(columns.sampled) == len(kept) - failed,
            "histograms": histograms,
        }
        return Counted(kept_by_limits=kept, facts=facts)

    def _tally(self, chosen: Bool[np.ndarray, "r"]) -> tuple[Int[np.ndarray, "n"], list[list[int]]]:
        """How many regions are chosen, of each image and in each bin."""
        from samclr.regions.column_kernels import tally  # here, as numba takes a while to import

        assert self.columns is not None
        per_image, bars = np.zeros(len(self.ids), np.int64), np.zeros((len(self._bins), NO_SCORE + 1), np.int64)
        tally(chosen, self.columns.start, self._bins, per_image, bars)
        return per_image, bars[:, :NO_SCORE].tolist()


def _sums(values: np.ndarray, start: Int[np.ndarray, "n_plus_1"]) -> np.ndarray:
    """The sum of each image's regions."""
    before = np.concatenate([[0], np.cumsum(values)])
    return before[start[1:]] - before[start[:-1]]


def _bins_of(columns: RegionColumns) -> tuple[list[str], UInt8[np.ndarray, "k r"]]:
    """What regions are counted by, and the bin of each region, a byte each: its area, and each score that there is."""
    image_area = np.repeat(columns.native_hw.astype(np.float32).prod(1), np.diff(columns.start))
    names, bins = ["area"], [_placed(np.log10(columns.area_px / image_area), AREA_BINS)]
    for name in SCORES:
        scores = getattr(columns, name)
        if not np.isnan(scores).all():
            names.append(name)
            bins.append(np.where(np.isnan(scores), NO_SCORE, _placed(scores, SCORE_BINS)).astype(np.uint8))
    return names, np.stack(bins)


def _placed(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each value; what lies outside is in the first or the last."""
    return np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2).astype(np.uint8)


def _count_bars(counts: Int[np.ndarray, "n"]) -> list[int]:
    """How many images have so many regions."""
    bars: list[int] = np.bincount(_placed(counts, COUNT_BINS), minlength=len(COUNT_BINS) - 1).tolist()
    return bars

"""What a region store says of all its images at once, without their masks: the columns that the explorer counts by.

Read once from the store and kept in the user's cache. Of a sample of the images the shares by which regions cover each
other are kept too, so that the containment test can be repeated for other settings without a mask.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco_mask

from samclr.config.cache import cache_folder
from samclr.config.views import FilterConfig
from samclr.errors import PartsError
from samclr.log import tell
from samclr.regions.coarsest import has_wanted_area, has_wanted_box, largest_first
from samclr.regions.records import ImageRegions, SegmentError
from samclr.regions.store import STORE_SCHEMA, read_bucket, read_regions
from samclr.storage.checksums import is_whole, seal
from samclr.storage.files import read_json, remove_leftovers, replacing_path, write_json
from samclr.storage.locks import locked
from samclr.storage.parts import OK, PartsFolder, bucket_of_part

COLUMNS_FORMAT = 1
SAMPLE_IMAGES, SAMPLE_REGIONS = 1000, 30_000  # at most; their masks are compared, in some seconds
SAMPLE_SEED = 0
BLOCK_REGIONS = 32_768
NO_ROW = "it has no row in the region store"
DAMAGED = "its row in the region store is damaged"
SCORES = ("predicted_iou", "stability_score")
_FLAT: dict[str, tuple[type, tuple[int, ...]]] = {
    "box_xyxy": (np.int32, (4,)),
    "area_px": (np.int32, ()),
    **dict.fromkeys(SCORES, (np.float32, ())),
}
_ERRORS = "errors.json"


@dataclass(frozen=True, kw_only=True)
class RegionColumns:
    """Regions of n images, in the order of the ids that they were asked for by; none of an image that failed.

    start [n+1]: first region of each image. native_hw [n 2]: (0, 0) of those that failed. Scores
    are NaN where the segmenter has none. Of the `sampled` images [m] the regions stand image by image and largest first
    in `sample_region` [s]; of their pairs see `samclr.regions.column_kernels`.
    """

    start: Int[np.ndarray, "n_plus_1"]
    native_hw: Int[np.ndarray, "n 2"]
    box_xyxy: Int[np.ndarray, "r 4"]
    area_px: Int[np.ndarray, "r"]
    predicted_iou: Float[np.ndarray, "r"]
    stability_score: Float[np.ndarray, "r"]
    sampled: Int[np.ndarray, "m"]
    sample_region: Int[np.ndarray, "s"]
    pair_start: Int[np.ndarray, "s_plus_1"]
    pair_larger: Int[np.ndarray, "p"]
    pair_share: Float[np.ndarray, "p"]
    errors: dict[int, str]

    def within_limits(self, config: FilterConfig) -> tuple[Bool[np.ndarray, "r"], Bool[np.ndarray, "r"]]:
        """Which regions pass the filter's limits of area, and which of them that of the box too.

        The containment test is not among these. Worked off in blocks of images, which stay in the processor's cache.
        """
        by_area, within = np.zeros(len(self.area_px), bool), np.zeros(len(self.area_px), bool)
        step = max(BLOCK_REGIONS * len(self.native_hw) // max(len(self.area_px), 1), 1)
        for first in range(0, len(self.native_hw), step):
            hw, counts = self.native_hw[first : first + step], np.diff(self.start[first : first + step + 1])
            block = slice(int(self.start[first]), int(self.start[first] + counts.sum()))
            height, width = (np.repeat(side, counts) for side in hw.T)
            by_area[block] = has_wanted_area(self.area_px[block], height * width, config)
            within[block] = by_area[block]
            if config.min_box_px > 0:
                chosen = np.flatnonzero(by_area[block])
                boxes = self.box_xyxy[block][chosen]
                within[block.start + chosen] = has_wanted_box(boxes, height[chosen], width[chosen], config)
        return by_area, within

    def sample_kept(self, config: FilterConfig) -> Bool[np.ndarray, "s"]:
        """Which of the sample's regions the whole filter keeps, containment included."""
        from samclr.regions.column_kernels import keep_uncontained  # here, as numba takes a while to import

        region = self.sample_region
        height, width = self.native_hw[np.searchsorted(self.start, region, "right") - 1].T
        wanted = has_wanted_area(self.area_px[region], height * width, config)
        kept = np.zeros(len(region), bool)
        keep_uncontained(wanted, self.pair_start, self.pair_larger, self.pair_share, config.containment_frac, kept)
        return kept & has_wanted_box(self.box_xyxy[region], height, width, config)


_ARRAYS = tuple(one.name for one in fields(RegionColumns) if one.name != "errors")


def open_columns(store: PartsFolder, image_ids: Sequence[str]) -> RegionColumns:
    """The columns of some images, from the user's cache or, the first time, from the store.

    Raises:
        PartsError: a part of the store cannot be read.
    """
    images = hashlib.sha256("\n".join(image_ids).encode())
    key_text = json.dumps([COLUMNS_FORMAT, store.fingerprint(), images.hexdigest()])
    path = cache_folder() / "columns" / hashlib.sha256(key_text.encode()).hexdigest()[:20]
    remove_leftovers(path.parent)
    found = _load(path)
    if found is None:
        with locked(cache_folder() / "columns-locks" / path.name):
            found = _load(path)  # another process may have read it
            if found is None:
                tell(f"reading {store.path}, once")
                columns = _Reader(store, image_ids).columns()
                if path.exists():
                    shutil.rmtree(path)
                with replacing_path(path) as beside:
                    beside.mkdir()
                    _save(columns, beside)
                found = _load(path)
    if found is None:
        raise PartsError(f"{path} is damaged right after it was written; is its disk faulty?")
    return found


def _save(columns: RegionColumns, folder: Path) -> None:
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(columns, name))
        seal(folder / f"{name}.npy")
    write_json(folder / _ERRORS, {str(number): text for number, text in columns.errors.items()}, sealed=True)


def _load(path: Path) -> RegionColumns | None:
    """None if it is not there, or damaged."""
    if not all(is_whole(path / f"{name}.npy") for name in _ARRAYS):
        return None
    errors = read_json(path / _ERRORS, {})
    arrays = {name: np.load(path / f"{name}.npy") for name in _ARRAYS}
    return RegionColumns(**arrays, errors={int(number): text for number, text in errors.items()})


class _Reader:
    """Reads a store part by part; of several rows of an image the last counts."""

    def __init__(self, store: PartsFolder, image_ids: Sequence[str]):
        n = len(image_ids)
        self._store, self._image_ids = store, image_ids
        self._part_of, self._first, self._count = (np.full(n, -1), np.zeros(n, np.int64), np.zeros(n, np.int64))
        self._bucket_of = np.full(n, -1)
        self._hw = np.zeros((n, 2), np.int32)
        self._errors = dict.fromkeys(range(n), NO_ROW)
        self._parts: list[dict[str, np.ndarray]] = []

    def columns(self) -> RegionColumns:
        """Raises PartsError if a part cannot be read."""
        for stem, numbers, rows in self._store.rows_of(self._image_ids, ["height", "width", "status", "regions"]):
            self._bucket_of[numbers] = bucket_of_part(stem)
            self._take(numbers, rows)
        pairs = self._measured()
        counts = self._count
        start = np.concatenate([[0], np.cumsum(counts)])
        flat = {name: np.zeros((start[-1], *shape), kind) for name, (kind, shape) in _FLAT.items()}
        for part, own in enumerate(self._parts):
            images = np.flatnonzero((self._part_of == part) & (counts > 0))
            to = _spans(start[images], counts[images])
            source = _spans(self._first[images], counts[images])
            for name in _FLAT:
                flat[name][to] = own[name][source]
        return RegionColumns(
            start=start,
            native_hw=self._hw,
            errors=self._errors,
            **flat,
            **_sampled(pairs, start, flat["area_px"]),
        )

    def _take(self, numbers: Int[np.ndarray, "n"], rows: pa.Table) -> None:
        rows = rows.combine_chunks()
        found = _flat_columns(rows)
        counts = pc.fill_null(pc.list_value_length(rows["regions"]), 0).to_numpy()
        first = np.cumsum(counts) - counts
        heights, widths = (rows[name].fill_null(0).to_numpy() for name in ("height", "width"))
        sound = np.zeros(len(rows), bool) if found is None else _sound(found, counts, heights, widths)
        for place, (number, status) in enumerate(zip(numbers.tolist(), rows["status"].to_pylist(), strict=True)):
            fine = status == OK and bool(sound[place])
            if not fine:
                self._errors[number] = status if status != OK else DAMAGED
            else:
                self._errors.pop(number, None)
            self._hw[number] = (heights[place], widths[place]) if fine else (0, 0)
            self._part_of[number] = len(self._parts)
            self._first[number], self._count[number] = first[place], counts[place] if fine else 0
        self._parts.append({} if found is None else found)

    def _measured(self) -> dict[int, list[tuple[int, int, float]]]:
        """The pairs of a sample of the images. Those of it whose rows are damaged become errors."""
        sound = np.array([number for number in range(len(self._image_ids)) if number not in self._errors], np.int64)
        order = np.random.default_rng(SAMPLE_SEED).permutation(sound)[:SAMPLE_IMAGES]
        sample = order[np.cumsum(self._count[order]) <= SAMPLE_REGIONS]
        pairs = {}
        for bucket in np.unique(self._bucket_of[sample]).tolist():
            numbers = {self._image_ids[number]: number for number in sample[self._bucket_of[sample] == bucket].tolist()}
            rows = read_bucket(self._store, bucket)
            rows = rows.filter(pc.is_in(rows["image_id"], pa.array(list(numbers), pa.string())))
            for row in rows.to_pylist():
                number, found = numbers[row["image_id"]], read_regions(row)
                if isinstance(found, SegmentError):
                    self._errors[number], self._count[number], self._hw[number] = found.message, 0, (0, 0)
                else:
                    pairs[number] = pair_shares(found)
        return pairs


def _sampled(
    pairs: dict[int, list[tuple[int, int, float]]], start: Int[np.ndarray, "n_plus_1"], area_px: Int[np.ndarray, "r"]
) -> dict[str, np.ndarray]:
    """The columns of the sample."""
    sampled = np.array(sorted(pairs), np.int64)
    regions, pair_counts, larger, shares, before = [], [], list[int](), list[float](), 0
    for number in sampled.tolist():
        own = largest_first(area_px[start[number] : start[number + 1]])
        regions.append(start[number] + own)
        places = [place for place, _, _ in pairs[number]]
        pair_counts.append(np.bincount(np.array(places, np.int64), minlength=len(own)))
        larger += [before + place for _, place, _ in pairs[number]]
        shares += [share for _, _, share in pairs[number]]
        before += len(own)
    counts = np.concatenate([np.zeros(0, np.int64), *pair_counts])
    return {
        "sampled": sampled,
        "sample_region": np.concatenate([np.zeros(0, np.int64), *regions]),
        "pair_start": np.concatenate([[0], np.cumsum(counts)]),
        "pair_larger": np.array(larger, np.int64),
        "pair_share": np.array(shares, np.float64),
    }


def pair_shares(found: ImageRegions) -> list[tuple[int, int, float]]:
    """(place, larger place, share of the first one's area inside the other), places in the order largest first.

    Pairs that share no pixel are left out.
    """
    order = largest_first(np.array([region.area_px for region in found.regions], np.int64))
    rles = found.coco_rles()
    boxes = found.boxes_xyxy[order]
    pairs = []
    for place in range(1, len(order)):
        before = boxes[:place]
        sides = np.minimum(before[:, 2:], boxes[place, 2:]) - np.maximum(before[:, :2], boxes[place, :2])
        near = np.flatnonzero((sides > 0).all(1)).tolist()
        if not near:
            continue
        # iscrowd=1 makes pycocotools divide the intersection by the first mask's own area.
        shares = coco_mask.iou([rles[order[place]]], [rles[order[other]] for other in near], [1] * len(near))
        pairs += [(place, other, share) for other, share in zip(near, np.ravel(shares).tolist(), strict=True) if share]
    return pairs


def _flat_columns(rows: pa.Table) -> dict[str, np.ndarray] | None:
    """The regions' columns of a part, one after the other; None if one of them lacks a value that it must have."""
    regions = rows["regions"].cast(STORE_SCHEMA.field("regions").type).combine_chunks()
    flat = (regions.chunk(0) if isinstance(regions, pa.ChunkedArray) and regions.num_chunks else regions).flatten()
    boxes, areas = flat.field("box_xyxy"), flat.field("area_px")
    if flat.null_count or boxes.null_count or areas.null_count or boxes.flatten().null_count:
        return None
    found = {"box_xyxy": boxes.flatten().to_numpy().reshape(-1, 4), "area_px": areas.to_numpy()}
    return found | {name: flat.field(name).fill_null(np.nan).to_numpy() for name in SCORES}


def _sound(
    found: dict[str, np.ndarray], counts: np.ndarray, heights: np.ndarray, widths: np.ndarray
) -> Bool[np.ndarray, "n"]:
    """Which images' regions are such as ImageRegions takes, as far as can be told without their masks."""
    x0, y0, x1, y1 = found["box_xyxy"].T.astype(np.int64)
    area = found["area_px"]
    inside = (x0 >= 0) & (y0 >= 0) & (x1 <= np.repeat(widths, counts)) & (y1 <= np.repeat(heights, counts))
    fits = inside & (x0 < x1) & (y0 < y1) & (area >= 1) & (area <= (x1 - x0) * (y1 - y0))
    image = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(image[~fits], minlength=len(counts)) == 0


def _spans(first: Int[np.ndarray, "n"], counts: Int[np.ndarray, "n"]) -> Int[np.ndarray, "r"]:
    """The numbers first, first + 1 ... of each span, one span after the other."""
    before = np.cumsum(counts) - counts
    return np.repeat(first - before, counts) + np.arange(counts.sum())

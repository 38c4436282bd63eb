"""The region index: what training reads. Made once from store, filter and list of images, then memory-mapped.

Arrays: `start` [n+1] first region row of each image; per region `box_xyxy` [r 4] padded and clipped,
`mask_box_xyxy` [r 4] as segmented, `area_px` [r], and `grid` [r 32 32], the share of each cell of the mask box
that the mask covers, as 0 to 255.

Each file ends with its checksum, looked at on opening, but for that of large grids: of those each region's is looked
at when it is first used. A damaged index is rebuilt.
"""

import hashlib
import io
import json
import shutil
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, UInt8, UInt32
from numpy.lib.format import open_memmap

from samclr.bank.bank import SceneBank, check_same_images
from samclr.bank.rows import HASH, NO_ROW, hashes_of
from samclr.config.pretrain import FilterConfig
from samclr.errors import PartsError, name_some
from samclr.log import option_of, say
from samclr.processes.stopping import stop_signals, stopped
from samclr.processes.workers import shared_flag, worker_processes
from samclr.regions.coarsest import coarsest, padded_boxes
from samclr.regions.records import ImageRegions, SegmentError, check_rle
from samclr.regions.store import damaged_text, read_bucket, read_regions
from samclr.storage.checksums import is_whole, seal
from samclr.storage.files import remove_if_free, remove_leftovers, replacing_path, take_room
from samclr.storage.locks import locked
from samclr.storage.parts import OK, PartsFolder, bucket_of_part

GRID = 32
DAMAGED = -1  # in place of an image's number of regions
INDEX_FORMAT = 3
GRID_BYTES_AT_OPENING = 256_000_000  # checked at once, in a tenth of a second; of more each row as it is used
MIN_IMAGES_A_WORKER = 2000  # fewer are done before another process has started
ARRAYS = {
    "box_xyxy": (np.int32, (4,)),
    "mask_box_xyxy": (np.int32, (4,)),
    "area_px": (np.int64, ()),
    "grid": (np.uint8, (GRID, GRID)),
    "grid_crc32": (np.uint32, ()),
}
FILES = ("start", "segment_errors", *ARRAYS)


@dataclass(frozen=True, kw_only=True)
class RegionIndex:
    """Regions of n images, in the order of the bank they were made for; see the module's docstring."""

    start: Int[np.ndarray, "n_plus_1"]
    box_xyxy: Int[np.ndarray, "r 4"]
    mask_box_xyxy: Int[np.ndarray, "r 4"]
    area_px: Int[np.ndarray, "r"]
    grid: UInt8[np.ndarray, "r 32 32"]
    segment_errors: int
    unchecked: "UncheckedGrids | None" = field(default=None, repr=False)
    grid_crc32: UInt32[np.ndarray, "r"] | None = field(default=None, repr=False)

    def masks_fingerprint(self) -> str:
        """Sixteen hex digits that change with any mask, to the accuracy of the grid."""
        crc32 = self.grid_crc32
        if crc32 is None:
            crc32 = np.array([zlib.crc32(grid.tobytes()) for grid in self.grid], np.uint32)
        digest = hashlib.sha256()
        for values in (self.mask_box_xyxy, self.area_px, crc32):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()[:16]

    def of_image(self, image: int) -> "RegionIndex":
        """The regions of one image as the index of that image alone. Raises PartsError if a grid is damaged."""
        rows = np.arange(self.start[image], self.start[image + 1])
        return replace(
            self,
            start=np.array([0, len(rows)]),
            box_xyxy=self.box_xyxy[rows],
            mask_box_xyxy=self.mask_box_xyxy[rows],
            area_px=self.area_px[rows],
            grid=self.grids(rows),
            unchecked=None,
            grid_crc32=None,
        )

    def grids(self, region: Int[np.ndarray, "m"]) -> UInt8[np.ndarray, "m 32 32"]:
        """Grids of some regions. Raises PartsError if one is damaged."""
        grids: UInt8[np.ndarray, "m 32 32"] = self.grid[region]
        if self.unchecked is not None:
            self.unchecked.check(region, grids)
        return grids

    def coverage(self, region: Int[np.ndarray, "m"], boxes_xyxy: Int[np.ndarray, "m 4"]) -> Float[np.ndarray, "m"]:
        """Share of each box that its region's mask covers, to the accuracy of the grid."""
        mask_box = self.mask_box_xyxy[region].astype(np.float64)
        cell_wh = (mask_box[:, 2:] - mask_box[:, :2]) / GRID
        low = np.clip((boxes_xyxy[:, :2] - mask_box[:, :2]) / cell_wh, 0, GRID)
        high = np.clip((boxes_xyxy[:, 2:] - mask_box[:, :2]) / cell_wh, 0, GRID)
        edges = np.arange(GRID)
        inside_x = np.clip(np.minimum(high[:, :1], edges + 1) - np.maximum(low[:, :1], edges), 0, 1)
        inside_y = np.clip(np.minimum(high[:, 1:], edges + 1) - np.maximum(low[:, 1:], edges), 0, 1)
        covered_cells = np.einsum("myx,my,mx->m", self.grids(region) / 255.0, inside_y, inside_x)
        box_area = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1)
        return covered_cells * cell_wh.prod(1) / box_area


@dataclass(frozen=True, kw_only=True)
class UncheckedGrids:
    """Checksums of the grids of an index that is too large to be read through on opening."""

    path: Path
    crc32: UInt32[np.ndarray, "r"]
    checked: Bool[np.ndarray, "r"]

    def check(self, region: Int[np.ndarray, "m"], grids: UInt8[np.ndarray, "m 32 32"]) -> None:
        """Raise PartsError if a grid is not what was written; the index is then rebuilt when it is next opened."""
        for place in np.flatnonzero(~self.checked[region]):
            if zlib.crc32(grids[place].tobytes()) != self.crc32[region[place]]:
                remove_if_free(self.path / "grid_crc32.npy")
                raise PartsError(
                    f"the region index {self.path} is damaged: the checksum of a grid does not fit; "
                    f"rerun the same command, which rebuilds the index"
                )
            self.checked[region[place]] = True


def open_index(
    bank: SceneBank, store: PartsFolder, config: FilterConfig, cache: Path, num_workers: int = 1
) -> RegionIndex:
    """Map the index of a bank's images, making it first if store, filter or images are new.

    One process makes it, with up to `num_workers` others if the store is large; others that need it wait.

    Raises:
        PartsError: the store lacks some of the bank's images.
        ScenesError: an image was replaced between packing and segmenting.
    """
    images = hashlib.sha256()
    for name in bank.names():
        images.update(":".join((*name, "\n")).encode())
    key_text = json.dumps([INDEX_FORMAT, store.fingerprint(), images.hexdigest(), asdict(config)])
    path = cache / "index" / hashlib.sha256(key_text.encode()).hexdigest()[:20]
    remove_leftovers(path.parent)
    index = _load(path)
    if index is None:
        with locked(cache / "index-locks" / path.name):
            index = _load(path)  # another process may have made it
            if index is None:
                if path.exists():
                    say(f"the region index {path} is damaged and is being rebuilt")
                with replacing_path(path) as beside:
                    beside.mkdir()
                    _build(bank, store, config, beside, num_workers)
    index = index or _load(path)
    if index is None:
        raise PartsError(f"the region index {path} is damaged right after it was written; is its disk faulty?")
    return index


def _load(path: Path) -> RegionIndex | None:
    """Map an index; None if there is none, or a damaged one."""
    files = {name: path / f"{name}.npy" for name in FILES}
    if not all(is_whole(file) for name, file in files.items() if name != "grid"):
        return None
    try:
        loaded = {name: np.load(file, mmap_mode="r") for name, file in files.items()}
    except (OSError, ValueError):  # of the grid, which is not read through yet
        return None
    grid, num_regions = loaded["grid"], len(loaded["area_px"])
    if (grid.dtype, grid.shape) != (np.uint8, (num_regions, GRID, GRID)):
        return None
    unchecked = None
    if grid.nbytes > GRID_BYTES_AT_OPENING:
        unchecked = UncheckedGrids(path=path, crc32=loaded["grid_crc32"], checked=np.zeros(num_regions, bool))
    elif not is_whole(files["grid"]):
        return None
    return RegionIndex(
        start=np.asarray(loaded["start"]),
        box_xyxy=np.asarray(loaded["box_xyxy"]),
        mask_box_xyxy=np.asarray(loaded["mask_box_xyxy"]),
        area_px=np.asarray(loaded["area_px"]),
        grid=grid,
        segment_errors=int(loaded["segment_errors"]),
        unchecked=unchecked,
        grid_crc32=np.asarray(loaded["grid_crc32"]),
    )


def _build(bank: SceneBank, store: PartsFolder, config: FilterConfig, folder: Path, num_workers: int) -> None:
    """Write the arrays. Only what an image takes is ever in memory for all images; what a region takes is in files."""
    image_ids = bank.image_ids
    bucket_of, done = np.full(bank.num_images, NO_ROW), np.zeros(bank.num_images, bool)
    hashes = np.zeros(bank.num_images, HASH)
    for stem, numbers, rows in store.rows_of(image_ids, ["content_hash", "status"]):
        bucket_of[numbers], done[numbers] = bucket_of_part(stem), [text == OK for text in rows["status"].to_pylist()]
        hashes[numbers] = hashes_of(rows)
    missing = [image_ids[number] for number in np.flatnonzero(bucket_of == NO_ROW)]
    if missing:
        raise PartsError(
            f"{len(missing)} scenes have no row in the region store {store.path}: {name_some(missing)}; "
            f"run samclr segment on the same scenes with --out {store.path}"
        )
    hashes[~done] = b""
    check_same_images(bank, hashes, f"the region store {store.path}")
    jobs = [
        _Job(
            bucket=int(bucket), images=(images := np.flatnonzero(done & (bucket_of == bucket))),
            image_ids=[image_ids[number] for number in images], native_hw=bank.native_hw[images],
            folder=folder / f"b{bucket:05d}",
        )
        for bucket in np.unique(bucket_of[done])
    ]  # fmt: skip
    counts = np.zeros(bank.num_images, np.int64)
    for job, found in zip(jobs, _run(jobs, store, config, num_workers), strict=True):
        counts[job.images] = found
    damaged = [image_ids[number] for number in np.flatnonzero(counts == DAMAGED)]
    if damaged:
        say(damaged_text(store, damaged, "count as images that failed"))
    start = np.concatenate([[0], np.cumsum(counts.clip(0))])
    _save(folder / "start.npy", start)
    _save(folder / "segment_errors.npy", np.array(int((~done).sum()) + len(damaged)))
    _join(jobs, start, folder)
    for name in FILES:
        seal(folder / f"{name}.npy")


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Images of one bucket of the store, and the folder for the arrays of their regions, one image after the other."""

    bucket: int
    images: Int[np.ndarray, "n"]
    image_ids: list[str]
    native_hw: Int[np.ndarray, "n 2"]
    folder: Path


def _run(
    jobs: list[_Job], store: PartsFolder, config: FilterConfig, num_workers: int
) -> Iterator[Int[np.ndarray, "n"]]:
    """Numbers of regions of each job's images, or DAMAGED, in the order of the jobs."""
    work = partial(_index_bucket, store.path, store.kind, config)
    workers = min(num_workers, sum(len(job.images) for job in jobs) // MIN_IMAGES_A_WORKER, len(jobs))
    if workers <= 1:
        yield from map(work, jobs)
        return
    doing = f"indexing {store.path}"
    with stop_signals(shared_flag()) as stop, worker_processes(workers, stop, doing, option_of("workers")) as pool:
        for counts in pool.map(work, jobs):
            if stop.is_set():  # an index is made whole or not at all
                raise stopped(f"stopped while {doing}; rerun the same command")
            yield counts


def _index_bucket(path: Path, kind: str, config: FilterConfig, job: _Job) -> Int[np.ndarray, "n"]:
    """Filter the regions of a job's images and write their arrays."""
    import pyarrow.compute as pc  # here, as it takes a while to import

    rows = read_bucket(PartsFolder(path, kind), job.bucket)
    rows = rows.take(pc.index_in(pa.array(job.image_ids, pa.string()), rows["image_id"].combine_chunks()))
    counts, boxes, mask_boxes, areas, grids = [], array("i"), array("i"), array("q"), []
    for row, native_hw in zip(rows.to_pylist(), job.native_hw.tolist(), strict=True):
        found = read_regions(row)
        if isinstance(found, SegmentError) or [found.height, found.width] != native_hw:
            counts.append(DAMAGED)
            continue
        kept = coarsest(found, config)
        counts.append(len(kept))
        own = found.boxes_xyxy[kept]
        boxes.extend(padded_boxes(own, config.padding, found.height, found.width).ravel().tolist())
        mask_boxes.extend(own.ravel().tolist())
        areas.extend(found.regions[number].area_px for number in kept)
        grids += [occupancy_grid(found, number) for number in kept]
    job.folder.mkdir()
    _save(job.folder / "box_xyxy.npy", np.array(boxes, np.int32).reshape(-1, 4))
    _save(job.folder / "mask_box_xyxy.npy", np.array(mask_boxes, np.int32).reshape(-1, 4))
    _save(job.folder / "area_px.npy", np.array(areas, np.int64))
    _save(job.folder / "grid.npy", np.array(grids, np.uint8).reshape(-1, GRID, GRID))
    _save(job.folder / "grid_crc32.npy", np.array([zlib.crc32(grid.tobytes()) for grid in grids], np.uint32))
    return np.array(counts, np.int64)


def _save(path: Path, values: np.ndarray) -> None:
    """np.save, but a full disk is an error of the system with its number."""
    content = io.BytesIO()
    np.save(content, values)
    path.write_bytes(content.getbuffer())


def _join(jobs: list[_Job], start: Int[np.ndarray, "n_plus_1"], folder: Path) -> None:
    """Bring the regions of all jobs into the order of the bank, and remove the jobs' folders."""
    for name, (dtype, shape) in ARRAYS.items():
        if start[-1] == 0:  # an empty file cannot be mapped
            _save(folder / f"{name}.npy", np.zeros((0, *shape), dtype))
            continue
        whole = open_memmap(folder / f"{name}.npy", "w+", dtype, (int(start[-1]), *shape))
        take_room(folder / f"{name}.npy")
        for job in jobs:
            counts = start[job.images + 1] - start[job.images]
            first = np.repeat(start[job.images] - np.cumsum(counts) + counts, counts)
            part = job.folder / f"{name}.npy"
            whole[first + np.arange(len(first))] = np.load(part)
            part.unlink()  # so that the disk never holds all grids twice
        whole.flush()
    for job in jobs:
        shutil.rmtree(job.folder)


def occupancy_grid(found: ImageRegions, region_index: int) -> UInt8[np.ndarray, "32 32"]:
    """Share of each of 32x32 cells of a region's box that its mask covers, 0 to 255.

    Raises:
        RegionError: run lengths that do not fit the image.
    """
    from samclr.regions.run_lengths import cover_cells  # here, as numba takes a while to import

    region = found.regions[region_index]
    runs = check_rle(region.rle, found.height, found.width, f"{found.image_id}, region {region_index}")
    covered = np.zeros((GRID, GRID))
    cover_cells(runs, found.height, *region.box_xyxy, covered)
    return np.round(covered.clip(0, 1) * 255).astype(np.uint8)

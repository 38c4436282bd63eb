"""The region index: what training reads. Made once from store, filter and list of images, then memory-mapped.

Arrays: `start` [n+1] first region row of each image; per region `box_xyxy` [r 4] padded and clipped,
`mask_box_xyxy` [r 4] as segmented, `area_px` [r], and `grid` [r 32 32], the share of each cell of the mask box
that the mask covers, as 0 to 255.
"""

import hashlib
import json
import os
import shutil
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy.lib.format import open_memmap
from PIL import Image

from samclr.config import FilterConfig
from samclr.errors import PartsError, name_some
from samclr.parts import OK, PartsFolder
from samclr.regions.coarsest import coarsest, padded_box
from samclr.regions.store import iterate_rows, row_to_regions
from samclr.scenes.bank import SceneBank, check_same_images

GRID = 32
GRIDS_AT_A_TIME = 4096
INDEX_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class RegionIndex:
    """Regions of n images, in the order of the bank they were made for; see the module's docstring."""

    start: Int[np.ndarray, "n_plus_1"]
    box_xyxy: Int[np.ndarray, "r 4"]
    mask_box_xyxy: Int[np.ndarray, "r 4"]
    area_px: Int[np.ndarray, "r"]
    grid: UInt8[np.ndarray, "r 32 32"]
    segment_errors: int

    def coverage(self, region: Int[np.ndarray, "m"], boxes_xyxy: Int[np.ndarray, "m 4"]) -> Float[np.ndarray, "m"]:
        """Share of each box that its region's mask covers, to the accuracy of the grid."""
        mask_box = self.mask_box_xyxy[region].astype(np.float64)
        cell_wh = (mask_box[:, 2:] - mask_box[:, :2]) / GRID
        low = np.clip((boxes_xyxy[:, :2] - mask_box[:, :2]) / cell_wh, 0, GRID)
        high = np.clip((boxes_xyxy[:, 2:] - mask_box[:, :2]) / cell_wh, 0, GRID)
        edges = np.arange(GRID)
        inside_x = np.clip(np.minimum(high[:, :1], edges + 1) - np.maximum(low[:, :1], edges), 0, 1)
        inside_y = np.clip(np.minimum(high[:, 1:], edges + 1) - np.maximum(low[:, 1:], edges), 0, 1)
        covered_cells = np.einsum("myx,my,mx->m", self.grid[region] / 255.0, inside_y, inside_x)
        box_area = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1)
        return covered_cells * cell_wh.prod(1) / box_area


def open_index(bank: SceneBank, store: PartsFolder, config: FilterConfig, cache: Path) -> RegionIndex:
    """Map the index of a bank's images, making it first if store, filter or images are new.

    Raises:
        PartsError: the store lacks some of the bank's images.
        ScenesError: an image was replaced between packing and segmenting.
    """
    images = hashlib.sha256("\n".join(map(":".join, zip(bank.image_ids, bank.content_hashes, strict=True))).encode())
    key_text = json.dumps([INDEX_FORMAT, store.fingerprint(), images.hexdigest(), asdict(config)])
    path = cache / "index" / hashlib.sha256(key_text.encode()).hexdigest()[:20]
    if not path.exists():
        beside = path.with_name(f"{path.name}-{os.getpid()}.tmp")
        beside.mkdir(parents=True, exist_ok=True)
        for name, values in _build(bank, store, config, beside).items():
            np.save(beside / f"{name}.npy", values)
        try:
            os.replace(beside, path)
        except OSError:  # another process has made it meanwhile
            shutil.rmtree(beside)
    loaded = {file.stem: np.load(file, mmap_mode="r") for file in path.glob("*.npy")}
    return RegionIndex(
        start=np.asarray(loaded["start"]),
        box_xyxy=np.asarray(loaded["box_xyxy"]),
        mask_box_xyxy=np.asarray(loaded["mask_box_xyxy"]),
        area_px=np.asarray(loaded["area_px"]),
        grid=loaded["grid"],
        segment_errors=int(loaded["segment_errors"]),
    )


def _build(bank: SceneBank, store: PartsFolder, config: FilterConfig, folder: Path) -> dict[str, np.ndarray]:
    """The arrays; the grids, by far the largest, are written to `folder` and never all in memory."""
    states = store.read(["image_id", "content_hash", "status"])
    hashes = dict(zip(states["image_id"].to_pylist(), states["content_hash"].to_pylist(), strict=True))
    image_ids = bank.image_ids
    missing = [image_id for image_id in image_ids if image_id not in hashes]
    if missing:
        raise PartsError(
            f"{len(missing)} scenes have no row in the region store {store.path}: {name_some(missing)}; "
            f"run samclr segment on the same scenes with --out {store.path}"
        )
    failed = {
        image_id
        for image_id, status in zip(states["image_id"].to_pylist(), states["status"].to_pylist(), strict=True)
        if status != OK
    }
    check_same_images(
        bank, {k: v for k, v in hashes.items() if v and k not in failed}, f"the region store {store.path}"
    )
    position = {image_id: number for number, image_id in enumerate(image_ids)}
    image_of, boxes, mask_boxes, areas = array("q"), array("i"), array("i"), array("q")
    unordered = folder / "grid.tmp"
    with open(unordered, "wb") as grids:  # in the order of the store
        for row in iterate_rows(store):
            if row["status"] != OK or row["image_id"] not in position:
                continue
            found = row_to_regions(row)
            for kept in coarsest(found, config):
                region = found.regions[kept]
                image_of.append(position[found.image_id])
                boxes.extend(padded_box(region.box_xyxy, config.padding, found.height, found.width))
                mask_boxes.extend(region.box_xyxy)
                areas.append(region.area_px)
                grids.write(occupancy_grid(found.mask(kept), region.box_xyxy).tobytes())
    image = np.array(image_of, np.int64)
    order = np.argsort(image, kind="stable")
    _write_grids(unordered, order, folder / "grid.npy")
    return {
        "start": np.searchsorted(image[order], np.arange(len(position) + 1)).astype(np.int64),
        "box_xyxy": np.array(boxes, np.int32).reshape(-1, 4)[order],
        "mask_box_xyxy": np.array(mask_boxes, np.int32).reshape(-1, 4)[order],
        "area_px": np.array(areas, np.int64)[order],
        "segment_errors": np.array(sum(image_id in position for image_id in failed)),
    }


def _write_grids(unordered: Path, order: Int[np.ndarray, "r"], path: Path) -> None:
    """Bring the grids into their order, some thousand at a time."""
    shape = len(order), GRID, GRID
    if len(order) == 0:  # an empty file cannot be mapped
        np.save(path, np.zeros(shape, np.uint8))
    else:
        source, ordered = (
            np.memmap(unordered, np.uint8, "r", shape=shape),
            open_memmap(path, "w+", np.uint8, shape=shape),
        )
        for first in range(0, len(order), GRIDS_AT_A_TIME):
            ordered[first : first + GRIDS_AT_A_TIME] = source[order[first : first + GRIDS_AT_A_TIME]]
        ordered.flush()
    unordered.unlink()


def occupancy_grid(mask: Bool[np.ndarray, "h w"], box_xyxy: tuple[int, int, int, int]) -> UInt8[np.ndarray, "32 32"]:
    """Share of each of 32x32 cells of the box that the mask covers, 0 to 255."""
    x0, y0, x1, y1 = box_xyxy
    inside = Image.fromarray(mask[y0:y1, x0:x1].astype(np.uint8) * 255)
    return np.asarray(inside.resize((GRID, GRID), Image.Resampling.BOX))

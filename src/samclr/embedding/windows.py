"""Where the regions of an image are pooled: in the whole image, or in windows of it at a finer scale.

The rule. The whole image is resized so that its shorter side is the working size (`image_px`; less where an image is
longer than FULLEST times its width, so that no panorama costs more than FULLEST squares), in whole patches; the
backbone gives one cell of features a patch. Where the image itself is finer by FINER or more, its scale is doubled,
level by level, up to the image's own; else there is one level. A region is pooled on the coarsest level on which its
mask covers at least `window_cells` cells, else on the finest. A level of at most FULLEST squares is computed as a
whole; a larger one is cut into square windows of the working size that overlap by a quarter, in whole cells, and only
windows that hold a part of a region of that level are computed. Where windows overlap, a cell's features are their
mean, weighted by the cell's distance from the nearest edge of each window; edges of the image do not count, as the
whole image has them, too.

A region's weight in a cell is the share of the cell's area that its exact mask covers, so that one smaller than a cell
has weight, too.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from samclr.regions.records import ImageRegions, check_rle

FULLEST = 4.0  # squares of the working size that an image as a whole takes at most
FINER = 1.5
OVERLAP = 0.25
IMAGE = 0  # the row of the image's own vector; those of its regions follow


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of an image as the backbone sees it, and what is pooled there.

    grid_hw: cells of the whole level. top, left, size_hw: the window, in cells. rows: vectors to be made, [r]; shares:
    the weight of each in each cell, [r gh gw].
    """

    grid_hw: tuple[int, int]
    top: int
    left: int
    size_hw: tuple[int, int]
    rows: list[int]
    shares: Float[np.ndarray, "r gh gw"]

    def pixels(self, image: Image.Image, patch: int) -> np.ndarray:
        """[3 h w] uint8, bilinear and antialiased; the same as if the whole level had been resized and then cut."""
        (gh, gw), (rows, columns) = self.grid_hw, self.size_hw
        down, across = image.height / gh, image.width / gw
        box = (self.left * across, self.top * down, (self.left + columns) * across, (self.top + rows) * down)
        box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))  # of which Pillow is strict
        resized = image.resize((columns * patch, rows * patch), Image.Resampling.BILINEAR, box=box)
        return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def levels(height: int, width: int, image_px: int, patch: int) -> list[tuple[int, int]]:
    """Cells down and across of each level, the whole image's first; see the module's docstring."""
    scale = min(image_px / min(height, width), image_px * math.sqrt(FULLEST / (height * width)))
    grids = [_grid(height, width, scale, patch)]
    while 1 / scale >= FINER:
        scale = min(2 * scale, 1.0)
        grids.append(_grid(height, width, scale, patch))
    return grids


def _grid(height: int, width: int, scale: float, patch: int) -> tuple[int, int]:
    return max(round(height * scale / patch), 1), max(round(width * scale / patch), 1)


def windows_of(
    size_hw: tuple[int, int],
    found: ImageRegions | None,
    numbers: Sequence[int],
    image_px: int,
    patch: int,
    window_cells: float,
) -> Iterator[Window]:
    """The whole image, then the windows that its regions `numbers` need, level by level, from top left.

    Over all of them the shares of a vector add up to its mask's area in cells of its level.

    Raises:
        RegionError: run lengths that do not fit the image.
    """
    height, width = size_hw
    grids = levels(height, width, image_px, patch)
    on_level: list[list[int]] = [[] for _ in grids]
    for row, number in enumerate(numbers, IMAGE + 1):
        share = found.regions[number].area_px / (height * width)  # type: ignore[union-attr]
        fit = (level for level, (gh, gw) in enumerate(grids) if share * gh * gw >= window_cells)
        on_level[next(fit, len(grids) - 1)].append(row)
    whole = np.zeros((1 + len(on_level[0]), *grids[0]), np.float32)
    whole[IMAGE] = 1
    for place, row in enumerate(on_level[0], 1):
        top, left, shares = region_shares(found, numbers[row - 1], grids[0])  # type: ignore[arg-type]
        whole[place, top : top + shares.shape[0], left : left + shares.shape[1]] = shares
    yield Window(grid_hw=grids[0], top=0, left=0, size_hw=grids[0], rows=[IMAGE, *on_level[0]], shares=whole)
    for grid, rows in zip(grids[1:], on_level[1:], strict=True):
        if rows:
            masks = {row: region_shares(found, numbers[row - 1], grid) for row in rows}  # type: ignore[arg-type]
            yield from _windows(grid, masks, max(image_px // patch, 1))


def _windows(grid_hw: tuple[int, int], masks: dict[int, tuple[int, int, np.ndarray]], side: int) -> Iterator[Window]:
    """Windows of one level that hold a part of a mask."""
    side = max(grid_hw) if grid_hw[0] * grid_hw[1] <= FULLEST * side**2 else side
    (tops, down), (lefts, across) = (axis_windows(cells, side) for cells in grid_hw)
    inside: dict[tuple[int, int], list[int]] = {}
    for row, (top, left, shares) in masks.items():
        touched = _touching(tops, down.shape[1], top, shares.shape[0])
        for y in touched:
            for x in _touching(lefts, across.shape[1], left, shares.shape[1]):
                inside.setdefault((y, x), []).append(row)
    for (y, x), rows in sorted(inside.items()):
        blend = down[y][:, None] * across[x]
        weights = np.stack([_cut(masks[row], tops[y], lefts[x], blend.shape) for row in rows]) * blend
        held = weights.any((1, 2))
        if held.any():
            yield Window(
                grid_hw=grid_hw, top=int(tops[y]), left=int(lefts[x]), size_hw=(blend.shape[0], blend.shape[1]),
                rows=[row for row, is_held in zip(rows, held, strict=True) if is_held],
                shares=weights[held].astype(np.float32),
            )  # fmt: skip


def axis_windows(cells: int, side: int) -> tuple[Int[np.ndarray, "w"], Float[np.ndarray, "w s"]]:
    """First cells of the windows along an axis of so many cells, and the weight of each window in each of its cells.

    The weights of all windows add up to 1 in every cell.
    """
    if cells <= side:
        return np.zeros(1, np.int64), np.ones((1, cells))
    stride = max(side - math.ceil(OVERLAP * side), 1)
    first = np.round(np.linspace(0, cells - side, math.ceil((cells - side) / stride) + 1)).astype(np.int64)
    places = np.arange(side)
    before = np.where(first[:, None] > 0, places + 1.0, side)
    after = np.where(first[:, None] + side < cells, side - places, side)
    weights = np.minimum(before, after)
    total = np.zeros(cells)
    for start, weight in zip(first, weights, strict=True):
        total[start : start + side] += weight
    return first, weights / np.stack([total[start : start + side] for start in first])


def region_shares(
    found: ImageRegions, number: int, grid_hw: tuple[int, int]
) -> tuple[int, int, Float[np.ndarray, "ch cw"]]:
    """Of the cells of a grid over the image how much of each a region's mask covers, 0 to 1: first row and column of
    those about its box, and their shares, in float64.

    Raises:
        RegionError: run lengths that do not fit the image.
    """
    from samclr.regions.run_lengths import cover_cells  # here, as numba takes a while to import

    region, (gh, gw) = found.regions[number], grid_hw
    runs = check_rle(region.rle, found.height, found.width, f"{found.image_id}, region {number}")
    x0, y0, x1, y1 = region.box_xyxy
    left, right = x0 * gw // found.width, -(-x1 * gw // found.width)
    top, bottom = y0 * gh // found.height, -(-y1 * gh // found.height)
    across, down = found.width / gw, found.height / gh
    covered = np.zeros((bottom - top, right - left))
    cover_cells(runs, found.height, left * across, top * down, right * across, bottom * down, covered)
    return top, left, covered.clip(0, 1)


def _touching(first: Int[np.ndarray, "w"], side: int, start: int, count: int) -> list[int]:
    return np.flatnonzero((first < start + count) & (first + side > start)).tolist()


def _cut(
    mask: tuple[int, int, np.ndarray], top: int, left: int, size_hw: tuple[int, ...]
) -> Float[np.ndarray, "gh gw"]:
    """A mask's shares in a window."""
    first_row, first_column, shares = mask
    cut = np.zeros(size_hw)
    (y0, y1), (x0, x1) = (
        (max(first, start), min(first + count, start + side))
        for first, count, start, side in (
            (first_row, shares.shape[0], top, size_hw[0]),
            (first_column, shares.shape[1], left, size_hw[1]),
        )
    )
    cut[y0 - top : y1 - top, x0 - left : x1 - left] = shares[
        y0 - first_row : y1 - first_row, x0 - first_column : x1 - first_column
    ]
    return cut

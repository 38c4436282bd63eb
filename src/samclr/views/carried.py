"""Which regions of its image a row carries into its views, and which of them each view shows."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

import samclr.draws as draws
from samclr.config.pretrain import ViewsConfig
from samclr.regions.index import RegionIndex

NO_REGION = -1
AT_ONCE = 4096  # masks whose area in a box is summed at a time


def draw_carried(
    regions: RegionIndex | None,
    image_index: Int[np.ndarray, "b"],
    boxes_xyxy: Sequence[Int[np.ndarray, "b _ 4"]],
    map_sides: Sequence[int],
    views: ViewsConfig,
    *,
    seed: int,
    step: int,
) -> tuple[Int[np.ndarray, "b r"], list[Bool[np.ndarray, "b _ r"]]]:
    """Draw up to `views.carried_regions` regions of each row's image, without replacement; NO_REGION fills up.

    Drawn from are the regions that two of the row's views show, one of them of the first group: the others would be
    no positives. Also says which of the drawn regions each view of each group shows.

    boxes_xyxy, map_sides: of each view group the views' boxes, and the cells along their feature maps.

    Raises:
        PartsError: the region index is damaged.
    """
    b, num = len(image_index), views.carried_regions
    splits = np.cumsum([boxes.shape[1] for boxes in boxes_xyxy])[:-1]
    boxes = np.concatenate(list(boxes_xyxy), 1)  # [b v 4]
    sides = np.repeat(map_sides, [one.shape[1] for one in boxes_xyxy])
    carried, shown = np.full((b, num), NO_REGION, np.int64), np.zeros((b, boxes.shape[1], num), bool)
    if regions is not None:
        row, region, in_view = _shown_twice(regions, image_index, boxes, sides, int(boxes_xyxy[0].shape[1]), views)
        found = np.bincount(row, minlength=b)
        first = np.cumsum(found) - found
        numbers = draws.uniforms(seed, draws.STREAM_CARRIED, step, np.arange(b), num)
        chosen = np.sort(draws.without_replacement(numbers, np.maximum(found, num)), 1)
        rows, places = np.nonzero(chosen < found[:, None])
        pairs = first[rows] + chosen[rows, places]
        carried[rows, places] = region[pairs]
        shown[rows, :, places] = in_view[pairs]
    return carried, np.split(shown, splits, 1)


def _shown_twice(
    regions: RegionIndex,
    image_index: Int[np.ndarray, "b"],
    boxes: Int[np.ndarray, "b v 4"],
    sides: Int[np.ndarray, "v"],
    num_global: int,
    views: ViewsConfig,
) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"], Bool[np.ndarray, "m v"]]:
    """All pairs of a row and a region that two of its views show, row by row, and which views do."""
    start = regions.start[image_index]
    counts = regions.start[image_index + 1] - start
    row = np.repeat(np.arange(len(counts)), counts)
    region = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts - start, counts)
    cell_px = (boxes[..., 2:] - boxes[..., :2]).prod(-1) / sides**2  # [b v] area of a cell, in pixels of the image

    def enough(area_px: Float[np.ndarray, "m v"] | Int[np.ndarray, "m v"]) -> Bool[np.ndarray, "m v"]:
        least = np.maximum(views.shown_cells * cell_px[row], views.shown_frac * regions.area_px[region][:, None])
        return (area_px >= least * (1 - 1e-6)) & (area_px > 0)  # a region of just so many cells counts

    def twice(in_view: Bool[np.ndarray, "m v"]) -> Bool[np.ndarray, "m"]:
        return (in_view.sum(1) >= 2) & in_view[:, :num_global].any(1)

    # what the mask's box leaves in a view is more than what the mask does: most pairs are out without a look at a mask
    mask_box = regions.mask_box_xyxy[region].astype(np.int64)[:, None]
    overlap = np.minimum(mask_box[..., 2:], boxes[row][..., 2:]) - np.maximum(mask_box[..., :2], boxes[row][..., :2])
    kept = twice(enough(np.maximum(overlap, 0).prod(-1)))
    row, region = row[kept], region[kept]
    area = np.empty((len(row), boxes.shape[1]))
    for first in range(0, len(row), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        for view in range(boxes.shape[1]):
            box = boxes[row[part], view]
            area[part, view] = regions.coverage(region[part], box) * (box[:, 2:] - box[:, :2]).prod(1)
    in_view = enough(area)
    kept = twice(in_view)
    return row[kept], region[kept], in_view[kept]

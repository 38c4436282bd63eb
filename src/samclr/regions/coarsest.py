"""The paper's filter: keep the coarsest regions, drop small ones, pad the boxes (Missaoui and Yuan 2023).

A pure step between the store and the index: changing it needs no new segmentation. What the paper leaves
open is decided in docs/decisions/0003-coarsest-filter.md.
"""

import math

import numpy as np
from pycocotools import mask as coco_mask

from samclr.config.pretrain import FilterConfig
from samclr.regions.records import BoxXYXY, ImageRegions

COMPARED = 64  # masks at a time; one that covers is seldom far down the list


def coarsest(found: ImageRegions, config: FilterConfig) -> list[int]:
    """Indices of the regions to keep, largest first; equal areas in the order of their index."""
    image_area = found.height * found.width
    regions = found.regions
    order = sorted(range(len(regions)), key=lambda index: (-regions[index].area_px, index))
    min_area, max_area = max(config.min_area_px, config.min_area_frac * image_area), config.max_area_frac * image_area
    # A region that is too small could only hide smaller ones.
    order = [index for index in order if min_area <= regions[index].area_px <= max_area]
    rles = found.coco_rles()
    chosen = [order[place] for place in _not_contained([rles[index] for index in order], config.containment_frac)]
    return [index for index in chosen if _shorter_side(found, index, config) >= config.min_box_px]


def _not_contained(rles: list[dict[str, object]], max_frac: float) -> list[int]:
    """Places of the masks of which no mask kept before covers more than `max_frac`.

    Masks are compared only where their boxes could overlap by so much, a mask with few others at a time.
    """
    if not rles or max_frac >= 1:  # no mask covers more than all of another
        return list(range(len(rles)))
    areas = np.array([int(coco_mask.area(rle)) for rle in rles], np.float64)
    boxes = np.array([coco_mask.toBbox(rle) for rle in rles], np.float64)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    kept = np.empty(len(rles), np.int64)
    count = 0
    for place, rle in enumerate(rles):
        before = kept[:count]
        sides = np.minimum(high[before], high[place]) - np.maximum(low[before], low[place])
        near = before[sides.clip(0).prod(1) / areas[place] > max_frac]
        if not _covered(rle, [rles[other] for other in near], max_frac):
            kept[count] = place
            count += 1
    return kept[:count].tolist()


def _covered(rle: dict[str, object], others: list[dict[str, object]], max_frac: float) -> bool:
    # iscrowd=1 makes pycocotools divide the intersection by the first mask's own area.
    parts = (others[first : first + COMPARED] for first in range(0, len(others), COMPARED))
    return any((np.asarray(coco_mask.iou([rle], part, [1] * len(part))) > max_frac).any() for part in parts)


def padded_box(box_xyxy: BoxXYXY, padding: float, height: int, width: int) -> BoxXYXY:
    """Scale a box about its centre, clip each side to the image, round outwards to whole pixels."""
    x0, y0, x1, y1 = box_xyxy
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    half_w, half_h = (x1 - x0) / 2 * padding, (y1 - y0) / 2 * padding
    return (
        max(math.floor(centre_x - half_w), 0),
        max(math.floor(centre_y - half_h), 0),
        min(math.ceil(centre_x + half_w), width),
        min(math.ceil(centre_y + half_h), height),
    )


def _shorter_side(found: ImageRegions, index: int, config: FilterConfig) -> int:
    x0, y0, x1, y1 = padded_box(found.regions[index].box_xyxy, config.padding, found.height, found.width)
    return min(x1 - x0, y1 - y0)

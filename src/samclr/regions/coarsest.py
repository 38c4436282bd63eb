"""The paper's filter: keep the coarsest regions, drop small ones, pad the boxes (Missaoui and Yuan 2023).

A pure step between the store and the index: changing it needs no new segmentation. What the paper leaves
open is decided in docs/decisions/0003-coarsest-filter.md.
"""

import math

import numpy as np
from pycocotools import mask as coco_mask

from samclr.config import FilterConfig
from samclr.regions.records import BoxXYXY, ImageRegions


def coarsest(found: ImageRegions, config: FilterConfig) -> list[int]:
    """Indices of the regions to keep, largest first; equal areas in the order of their index."""
    image_area = found.height * found.width
    regions = found.regions
    order = sorted(range(len(regions)), key=lambda index: (-regions[index].area_px, index))
    order = [index for index in order if regions[index].area_px <= config.max_area_frac * image_area]
    if not order:
        return []
    rles = found.coco_rles()
    ordered = [rles[index] for index in order]
    # iscrowd=1 makes pycocotools divide the intersection by the first mask's own area.
    contained = np.asarray(coco_mask.iou(ordered, ordered, [1] * len(ordered)))
    kept: list[int] = []
    for position in range(len(order)):
        if not any(contained[position, larger] > config.containment_frac for larger in kept):
            kept.append(position)
    chosen = [order[position] for position in kept]
    min_area = max(config.min_area_px, config.min_area_frac * image_area)
    return [
        index
        for index in chosen
        if regions[index].area_px >= min_area and _shorter_side(found, index, config) >= config.min_box_px
    ]


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

"""The paper's filter: keep the coarsest regions, drop small ones, pad the boxes (Missaoui and Yuan 2023).

A pure step between the store and the index: changing it needs no new segmentation. What the paper leaves
open is decided in docs/decisions/0003-coarsest-filter.md.
"""

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco_mask

from samclr.config.pretrain import FilterConfig
from samclr.regions.records import BoxXYXY, ImageRegions

COMPARED = 64  # masks at a time; one that covers is seldom far down the list


def coarsest(found: ImageRegions, config: FilterConfig) -> list[int]:
    """Indices of the regions to keep, largest first; equal areas in the order of their index."""
    areas = np.array([region.area_px for region in found.regions], np.int64)
    # A region that is too small could only hide smaller ones.
    wanted = has_wanted_area(areas, found.height * found.width, config)
    order = [index for index in largest_first(areas).tolist() if wanted[index]]
    rles = found.coco_rles()
    chosen = [order[place] for place in _not_contained([rles[index] for index in order], config.containment_frac)]
    wanted = has_wanted_box(found.boxes_xyxy[chosen], found.height, found.width, config)
    return [index for index, is_wanted in zip(chosen, wanted, strict=True) if is_wanted]


def largest_first(area_px: Int[np.ndarray, "r"]) -> Int[np.ndarray, "r"]:
    """The order in which an image's regions are looked at; of equal ones the first comes first."""
    return np.argsort(-area_px, kind="stable")


def has_wanted_area(
    area_px: Int[np.ndarray, "r"], image_area_px: int | Int[np.ndarray, "r"], config: FilterConfig
) -> Bool[np.ndarray, "r"]:
    """Which regions' areas are between the filter's limits, for regions of one image or of many."""
    least = np.maximum(config.min_area_px, config.min_area_frac * image_area_px)
    return (least <= area_px) & (area_px <= config.max_area_frac * image_area_px)


def has_wanted_box(
    boxes_xyxy: Int[np.ndarray, "r 4"],
    height: int | Int[np.ndarray, "r"],
    width: int | Int[np.ndarray, "r"],
    config: FilterConfig,
) -> Bool[np.ndarray, "r"]:
    """Which regions' padded boxes have the shorter side that the filter asks for; of one image or of many.

    height, width: of the image, or of each region's own.
    """
    shorter = np.minimum(boxes_xyxy[:, 2] - boxes_xyxy[:, 0], boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    wanted = (shorter >= config.min_box_px) & (config.padding >= 1)  # padding takes nothing off, nor does the image
    could = np.flatnonzero(~wanted & (shorter * config.padding + 2 >= config.min_box_px))  # rounding adds less than two
    height, width = (np.broadcast_to(side, len(boxes_xyxy))[could] for side in (height, width))
    padded = padded_boxes(boxes_xyxy[could], config.padding, height, width)
    wanted[could] = (padded[:, 2:] - padded[:, :2]).min(1) >= config.min_box_px
    return wanted


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
    """`padded_boxes` of one box."""
    x0, y0, x1, y1 = padded_boxes(np.array([box_xyxy]), padding, height, width)[0].tolist()
    return x0, y0, x1, y1


def padded_boxes(
    boxes_xyxy: Int[np.ndarray, "r 4"],
    padding: float,
    height: int | Int[np.ndarray, "r"],
    width: int | Int[np.ndarray, "r"],
) -> Int[np.ndarray, "r 4"]:
    """Scale boxes about their centres, clip each side to the image, round outwards to whole pixels.

    height, width: of the image, or of each box's own.
    """
    x0, y0, x1, y1 = boxes_xyxy.T
    sides = []
    for low, high, length in ((x0, x1, width), (y0, y1, height)):
        centre, half = (low + high) / 2, (high - low) / 2 * padding
        sides.append((np.maximum(np.floor(centre - half), 0), np.minimum(np.ceil(centre + half), length)))
    (left, right), (top, bottom) = sides
    return np.stack([left, top, right, bottom], 1).astype(np.int64)

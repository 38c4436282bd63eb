"""Masks warped into views: how much of each cell of a feature map a region's mask covers, and where it is by pixels.

A mask is known by the region index's 32x32 grid over its box, so that a view's crop, resize and flip are two products
of small matrices.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from samclr.regions.index import GRID, RegionIndex
from samclr.views.carried import NO_REGION
from samclr.views.plan import GroupPlan, ViewPlan

AT_ONCE = 4096  # masks that are warped at a time: a few tens of megabytes


def mask_shares(
    regions: RegionIndex, region: Int[np.ndarray, "m"], boxes_xyxy: Int[np.ndarray, "m 4"], side: int
) -> Float[np.ndarray, "m s s"]:
    """How much of each of side x side parts of a box the region's mask covers, 0 to 1, by the 32x32 grid.

    As if the mask were even within each cell of the grid; for parts of many pixels.
    """
    mask_box, boxes = regions.mask_box_xyxy[region].astype(np.float64), boxes_xyxy.astype(np.float64)
    edges, cells = np.arange(side + 1) / side, np.arange(GRID)
    weights = []
    for low, high in ((0, 2), (1, 3)):
        size, cell = boxes[:, high] - boxes[:, low], (mask_box[:, high] - mask_box[:, low]) / GRID
        places = (boxes[:, low, None] + edges * size[:, None] - mask_box[:, low, None]) / cell[:, None]
        # of each cell of the grid, how much lies before each edge; the difference lies between two edges
        before = np.clip(places[..., None] - cells, 0, 1)
        weights.append((np.diff(before, axis=1) * (cell * side / size)[:, None, None]).astype(np.float32))
    return _weighted(regions, region, *weights)


def mask_at_pixels(
    regions: RegionIndex,
    region: Int[np.ndarray, "m"],
    boxes_xyxy: Int[np.ndarray, "m 4"],
    image_hw: Int[np.ndarray, "m 2"],
    side: int,
) -> Float[np.ndarray, "m s s"]:
    """The region's mask, 0 to 1, at the centre of each of a view's side x side pixels.

    Linear between the centres of the 32x32 grid's cells, and to 0 beyond the outer ones; but where the mask touches the
    image's edge they hold up to it, as there is nothing beyond.
    """
    mask_box, boxes = regions.mask_box_xyxy[region].astype(np.float32), boxes_xyxy.astype(np.float32)
    centre, cells = (np.arange(side, dtype=np.float32) + 0.5) / side, np.arange(GRID, dtype=np.float32)
    weights = []
    for low, high, end in ((0, 2, image_hw[:, 1]), (1, 3, image_hw[:, 0])):
        size, cell = boxes[:, high] - boxes[:, low], (mask_box[:, high] - mask_box[:, low]) / GRID
        position = (boxes[:, low, None] + centre * size[:, None] - mask_box[:, low, None]) / cell[:, None] - 0.5
        first = np.where(mask_box[:, low] <= 0, 0, -np.inf)
        last = np.where(mask_box[:, high] >= end, GRID - 1, np.inf)
        position = np.clip(position, first[:, None], last[:, None]).astype(np.float32)
        weights.append(np.maximum(0, 1 - np.abs(position[..., None] - cells)))
    return _weighted(regions, region, *weights)


def _weighted(
    regions: RegionIndex,
    region: Int[np.ndarray, "m"],
    across: Float[np.ndarray, "m s 32"],
    down: Float[np.ndarray, "m s 32"],
) -> Float[np.ndarray, "m s s"]:
    return down @ (regions.grids(region).astype(np.float32) / 255) @ across.transpose(0, 2, 1)


def with_shares(plan: ViewPlan, regions: RegionIndex | None) -> ViewPlan:
    """The plan with the shares of the regions that its rows carry; as it is where they carry none.

    Raises:
        PartsError: the region index is damaged.
    """
    if plan.carried is None:
        return plan
    groups = (replace(group, region_shares=_shares_of(group, plan.carried, regions)) for group in plan.groups)
    return replace(plan, groups=tuple(groups))


def _shares_of(
    group: GroupPlan, carried: Int[np.ndarray, "b r"], regions: RegionIndex | None
) -> Float[np.ndarray, "b v r g g"]:
    (b, v), side = group.boxes_xyxy.shape[:2], group.map_side
    assert side is not None
    shares = np.zeros((b, v, carried.shape[1], side, side), np.float32)
    row, view, place = np.nonzero(np.broadcast_to((carried != NO_REGION)[:, None], (b, v, carried.shape[1])))
    if regions is None:
        return shares
    for first in range(0, len(row), AT_ONCE):
        r, w, p = (numbers[first : first + AT_ONCE] for numbers in (row, view, place))
        shares[r, w, p] = mask_shares(regions, carried[r, p], group.boxes_xyxy[r, w], side)
    flipped = group.augment.flip
    shares[flipped] = shares[flipped][..., ::-1]
    return shares

"""Background mixing: around a region's mask, the pixels of another image (as planned).

A view of a region shows its surroundings too, and they can tell a model which pair belongs together as well as the
thing does. Where the plan says so, what lies outside the mask is taken from elsewhere.
"""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from samclr.models.devices import upload
from samclr.regions.index import GRID, RegionIndex
from samclr.views.crop import Cropper
from samclr.views.plan import NO_BACKGROUND, GroupPlan


def mix_backgrounds(
    views: UInt8[Tensor, "b v 3 s s"],
    group: GroupPlan,
    region_index: Int[np.ndarray, "b"],
    regions: RegionIndex | None,
    cropper: Cropper,
) -> None:
    """Replace, in place, what the region's mask leaves of each planned view by the crop of another image."""
    row, view = np.nonzero(group.background_image != NO_BACKGROUND)
    if len(row) == 0 or regions is None:
        return
    crops = torch.as_tensor(
        cropper.crop(group.background_image[row, view], group.background_xyxy[row, view][:, None], group.size_px)
    )
    shares = mask_shares(regions, region_index[row], group.boxes_xyxy[row, view], group.size_px)[:, None]
    rows, numbers, share = (upload(values, views.device) for values in (row, view, shares))
    mixed = views[rows, numbers] * share + crops[:, 0] * (1 - share)
    views[rows, numbers] = mixed.round_().to(torch.uint8)


def mask_shares(
    regions: RegionIndex, region: Int[np.ndarray, "m"], boxes_xyxy: Int[np.ndarray, "m 4"], size_px: int
) -> Float[np.ndarray, "m s s"]:
    """How much of each pixel of a view of the box the region's mask covers, by the 32x32 grid, linearly in between."""
    mask_box = regions.mask_box_xyxy[region].astype(np.float32)
    boxes = boxes_xyxy.astype(np.float32)
    centre = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px
    cells = np.arange(GRID, dtype=np.float32)
    weights = []
    for low, high in ((0, 2), (1, 3)):
        place = boxes[:, low, None] + centre * (boxes[:, high] - boxes[:, low])[:, None]
        cell = (mask_box[:, high] - mask_box[:, low]) / GRID
        position = (place - mask_box[:, low, None]) / cell[:, None] - 0.5
        weights.append(np.maximum(0, 1 - np.abs(position[..., None] - cells)))
    across, down = weights
    grids = regions.grids(region).astype(np.float32) / 255
    return down @ grids @ across.transpose(0, 2, 1)

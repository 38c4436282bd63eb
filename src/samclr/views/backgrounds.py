"""Background mixing: around a region's mask, the pixels of another image (as planned).

A view of a region shows its surroundings too, and they can tell a model which pair belongs together as well as the
thing does. Where the plan says so, what lies outside the mask is taken from elsewhere.
"""

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from samclr.models.devices import upload
from samclr.regions.index import RegionIndex
from samclr.views.crop import Cropper
from samclr.views.plan import NO_BACKGROUND, GroupPlan
from samclr.views.shares import mask_at_pixels


def mix_backgrounds(
    views: UInt8[Tensor, "b v 3 s s"],
    group: GroupPlan,
    region_index: Int[np.ndarray, "b"],
    image_hw: Int[np.ndarray, "b 2"],
    regions: RegionIndex | None,
    cropper: Cropper,
) -> None:
    """Replace, in place, what the region's mask leaves of each planned view by the crop of another image.

    image_hw: of the rows' images.
    """
    row, view = np.nonzero(group.background_image != NO_BACKGROUND)
    if len(row) == 0 or regions is None:
        return
    crops = torch.as_tensor(
        cropper.crop(group.background_image[row, view], group.background_xyxy[row, view][:, None], group.size_px)
    )
    boxes = group.boxes_xyxy[row, view]
    shares = mask_at_pixels(regions, region_index[row], boxes, image_hw[row], group.size_px)[:, None]
    rows, numbers, share = (upload(values, views.device) for values in (row, view, shares))
    mixed = views[rows, numbers] * share + crops[:, 0] * (1 - share)
    views[rows, numbers] = mixed.round_().to(torch.uint8)

"""From a plan and its crops to the batch that a method's loss takes: augmented, on the device."""

import numpy as np
import torch
from torch import Tensor

from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.models.devices import upload
from samclr.views.augment import augment
from samclr.views.batch import ViewBatch, ViewGroupBatch
from samclr.views.plan import ViewPlan


def make_batch(
    plan: ViewPlan, crops: list[Tensor], device: torch.device, normalisation: Normalisation = IMAGENET
) -> ViewBatch:
    """Move the crops to the device and augment them there."""
    groups = tuple(
        ViewGroupBatch(
            role=group.role,
            pixels=augment(pixels.to(device, non_blocking=True), group.augment, normalisation),
            boxes_xyxy=upload(group.boxes_xyxy.astype(np.int64), device),
            region_shares=_upload(device, group.region_shares),
            region_shown=_upload(device, group.region_shown),
        )
        for group, pixels in zip(plan.groups, crops, strict=True)
    )
    image_index, region_index = (
        upload(rows.astype(np.int64), device) for rows in (plan.image_index, plan.region_index)
    )
    carried = None if plan.carried is None else upload(plan.carried.astype(np.int64), device)
    return ViewBatch(step=plan.step, groups=groups, image_index=image_index, region_index=region_index, carried=carried)


def _upload(device: torch.device, values: np.ndarray | None) -> Tensor | None:
    return None if values is None else upload(values, device)

"""From a plan and its crops to the batch that a method's loss takes: augmented, on the device."""

import numpy as np
import torch
from torch import Tensor

from samclr.config.normalisation import IMAGENET, Normalisation
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
            boxes_xyxy=_on(device, group.boxes_xyxy),
        )
        for group, pixels in zip(plan.groups, crops, strict=True)
    )
    image_index, region_index = _on(device, plan.image_index), _on(device, plan.region_index)
    return ViewBatch(step=plan.step, groups=groups, image_index=image_index, region_index=region_index)


def _on(device: torch.device, numbers: np.ndarray) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int64)).to(device, non_blocking=True)

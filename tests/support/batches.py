"""Batches of noise."""

import torch

from samclr.views.batch import ViewBatch, ViewGroupBatch


def random_batch(
    step: int = 0, rows: int = 6, views: tuple[int, ...] = (2,), sides: tuple[int, ...] = (16,)
) -> ViewBatch:
    """Global views of the first size, local ones of the others; rows come in pairs from one image."""
    random = torch.Generator().manual_seed(step)
    groups = tuple(
        ViewGroupBatch(
            role="local" if number else "global",
            pixels=torch.randn(rows, v, 3, side, side, generator=random),
            boxes_xyxy=torch.zeros(rows, v, 4, dtype=torch.long),
        )
        for number, (v, side) in enumerate(zip(views, sides, strict=True))
    )
    return ViewBatch(
        step=step, groups=groups, image_index=torch.arange(rows) // 2 + step, region_index=torch.arange(rows)
    )

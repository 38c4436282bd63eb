"""Batches of noise."""

from dataclasses import replace

import torch

from samclr.views.batch import ViewBatch, ViewGroupBatch


def random_batch(
    step: int = 0,
    rows: int = 6,
    views: tuple[int, ...] = (2,),
    sides: tuple[int, ...] = (16,),
    carried: int = 0,
    map_sides: tuple[int, ...] = (2,),
) -> ViewBatch:
    """Global views of the first size, local ones of the others; rows come in pairs from one image.

    carried: regions that each row carries, of which each view shows about two thirds.
    """
    random = torch.Generator().manual_seed(step)
    groups = tuple(
        ViewGroupBatch(
            role="local" if number else "global",
            pixels=torch.randn(rows, v, 3, side, side, generator=random),
            boxes_xyxy=torch.zeros(rows, v, 4, dtype=torch.long),
        )
        for number, (v, side) in enumerate(zip(views, sides, strict=True))
    )
    batch = ViewBatch(
        step=step, groups=groups, image_index=torch.arange(rows) // 2 + step, region_index=torch.arange(rows)
    )
    return with_regions(batch, carried, map_sides, random) if carried else batch


def with_regions(batch: ViewBatch, carried: int, map_sides: tuple[int, ...], random: torch.Generator) -> ViewBatch:
    """The batch with masks of noise; the last place of each row has no region."""
    groups = []
    for group, side in zip(batch.groups, map_sides, strict=False):
        shape = (*group.pixels.shape[:2], carried)
        shares = torch.rand(*shape, side, side, generator=random).to(group.pixels.dtype)
        shown = torch.rand(shape, generator=random) < 2 / 3
        shares[:, :, -1], shown[:, :, -1] = 0, False
        groups.append(replace(group, region_shares=shares, region_shown=shown))
    ids = torch.arange(len(batch.image_index) * carried).view(-1, carried)
    ids[:, -1] = -1
    return replace(batch, groups=tuple(groups), carried=ids)

"""Block-wise masks of patches (Zhou et al., iBOT, ICLR 2022; the draws of DINOv2's masking.py), a pure function of
(seed, step): nothing needs saving, and every rank makes those of its own rows.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from samclr.draws import STREAM_MASK, uniforms

LEAST_BLOCK = 4  # patches
LEAST_ASPECT = 0.3  # of a block; the most is one over it
BLOCK_ATTEMPTS = 10  # to place a block; where all fail, the mask stays as it is
MOST_ATTEMPTS = 128  # for one view


def block_masks(
    seed: int,
    step: int,
    views: range,
    num_views: int,
    grid_hw: tuple[int, int],
    masked_view_frac: float,
    masked_patch_frac: tuple[float, float],
) -> Bool[np.ndarray, "n h w"]:
    """True where a patch is masked, for the views `views` of the `num_views` that a step has on all ranks.

    masked_view_frac: of the views this share, rounded down, is masked; the draw decides which.
    masked_patch_frac: the least and the most of a masked view's patches. The range is parted evenly among the masked
        views, so that their mean hardly varies. Blocks that find no place make it a little less.
    """
    masks = np.zeros((len(views), *grid_hw), bool)
    order = uniforms(seed, STREAM_MASK, step, np.arange(num_views), 1)[:, 0].argsort(kind="stable")
    chosen = order[: num_masked_views(num_views, masked_view_frac)]
    places = {int(view): place for place, view in enumerate(chosen) if int(view) in views}
    if not places:
        return masks
    draws = uniforms(seed, STREAM_MASK, step, np.array(list(places)), 4 * (MOST_ATTEMPTS + 1), first_block=1)
    least, most = masked_patch_frac
    for (view, place), numbers in zip(places.items(), draws, strict=True):
        frac = least + (most - least) * (place + numbers[0]) / len(chosen)
        count = int(frac * grid_hw[0] * grid_hw[1])
        masks[view - views.start] = _blocks(grid_hw, count, numbers[4:].reshape(MOST_ATTEMPTS, 4))
    return masks


def num_masked_views(num_views: int, masked_view_frac: float) -> int:
    """How many of a step's views have masked patches."""
    return int(num_views * masked_view_frac)


def _blocks(grid_hw: tuple[int, int], count: int, draws: Float[np.ndarray, "attempts 4"]) -> Bool[np.ndarray, "h w"]:
    """Rectangles at random places until `count` patches are masked, never more."""
    height, width = grid_hw
    mask = np.zeros(grid_hw, bool)
    left, failed = count, 0
    for area_draw, aspect_draw, top_draw, left_draw in draws:
        if left == 0 or failed == BLOCK_ATTEMPTS:
            break
        area = LEAST_BLOCK + (left - LEAST_BLOCK) * area_draw
        aspect = math.exp(math.log(LEAST_ASPECT) * (1 - 2 * aspect_draw))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        failed += 1
        if h >= height or w >= width:
            continue
        y, x = int(top_draw * (height - h + 1)), int(left_draw * (width - w + 1))
        block = mask[y : y + h, x : x + w]
        new = block.size - int(block.sum())
        if 0 < new <= left:
            block[:] = True
            left, failed = left - new, 0
    return mask

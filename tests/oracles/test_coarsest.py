"""The filter against a loop over decoded masks, on random masks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from samclr.config.pretrain import FilterConfig
from samclr.regions.coarsest import coarsest
from samclr.regions.records import ImageRegions, region_from_mask


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12), share=st.sampled_from([0.5, 0.9, 1.0]))
def test_equals_the_naive_filter(seed, count, share):
    random = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        mask = np.zeros((30, 40), bool)
        y, x = random.integers(0, 25), random.integers(0, 35)
        mask[y : y + random.integers(1, 25), x : x + random.integers(1, 30)] = True
        masks.append(mask & (random.random(mask.shape) < random.uniform(0.5, 1)) if random.random() < 0.5 else mask)
    masks = [mask for mask in masks if mask.any()] or [np.ones((30, 40), bool)]
    found = ImageRegions(
        image_id="i", content_hash="h", height=30, width=40, regions=tuple(region_from_mask(m) for m in masks)
    )
    kept: list[int] = []
    for index in sorted(range(len(masks)), key=lambda i: (-masks[i].sum(), i)):
        if not any((masks[index] & masks[k]).sum() > share * masks[index].sum() for k in kept):
            kept.append(index)
    expected = [index for index in kept if masks[index].sum() >= 50]
    assert coarsest(found, FilterConfig(min_area_px=50, containment_frac=share)) == expected

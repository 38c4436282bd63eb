"""Regions of strips equal those of whole masks."""

import numpy as np
import pytest

from samclr.errors import RegionError
from samclr.regions.records import region_from_mask, region_from_strip


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_a_strip_gives_the_region_of_the_whole_mask(share):
    random = np.random.default_rng(0)
    for _ in range(50):
        height, width = map(int, random.integers(1, 12, 2))
        x0 = int(random.integers(0, width))
        x1 = int(random.integers(x0, width)) + 1
        mask = np.zeros((height, width), bool)
        mask[:, x0:x1] = random.random((height, x1 - x0)) < share
        strip = mask[:, x0:x1]
        if mask.any():
            assert region_from_strip(strip, x0, width) == region_from_mask(mask)
        else:
            with pytest.raises(RegionError, match="the mask is empty"):
                region_from_strip(strip, x0, width)

"""What MaskGenerator takes for an image."""

import io

import numpy as np
import pytest
from PIL import Image

from samclr.errors import RegionError
from samclr.regions.mask_generator import as_pixels


def test_a_picture_cut_short_or_without_pixels_is_refused():
    written = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(written, "JPEG")
    with pytest.raises(RegionError, match="the image cannot be decoded: OSError"):
        as_pixels(Image.open(io.BytesIO(written.getvalue()[:-500])))
    for size in ((0, 20), (20, 0)):
        with pytest.raises(RegionError, match=f"the image has no pixels: it is {size[0]}x{size[1]} px"):
            as_pixels(Image.new("RGB", size))
    assert as_pixels(Image.open(written)).shape == (64, 64, 3)

"""Labelled images become squares as torchvision makes them, to the bit: others' processors feed the same pixels."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from samclr.evaluation.squares import square


@pytest.mark.parametrize("image_px", [24, 33, 64])
@pytest.mark.parametrize("size_hw", [(41, 67), (67, 41), (37, 500), (53, 54), (64, 64), (9, 14), (33, 38), (101, 33)])
def test_a_square_is_torchvisions(size_hw, image_px):
    pixels = np.random.default_rng(size_hw[0]).integers(0, 256, (*size_hw, 3), np.uint8)
    theirs = v2.Compose([v2.Resize(image_px, v2.InterpolationMode.BILINEAR), v2.CenterCrop(image_px)])
    expected = np.asarray(theirs(Image.fromarray(pixels))).transpose(2, 0, 1)
    np.testing.assert_array_equal(square(pixels, image_px), expected)

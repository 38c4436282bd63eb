"""Vectors of regions against naive loops over decoded masks, and windows against the image as a whole."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from samclr.config.embedding import EmbedConfig
from samclr.config.normalisation import UNCHANGED
from samclr.config.views import FilterConfig
from samclr.embedding.embedders import crop_vectors, pooled_vectors
from samclr.embedding.windows import FULLEST, axis_windows, levels, region_shares, windows_of
from samclr.regions.coarsest import padded_box
from samclr.regions.records import ImageRegions, region_from_mask
from samclr.scenes.decode import Scene

CPU = torch.device("cpu")


class Patches(nn.Module):
    """One cell for each 8x8 patch, which depends on that patch alone."""

    feature_info = ({"num_chs": 5, "reduction": 8},)
    normalisation = UNCHANGED

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 8, 8)

    def forward_intermediates(self, pixels, indices=None, output_fmt="NCHW", intermediates_only=True):
        return [self.layer(pixels)]

    def forward(self, pixels):
        return self.layer(pixels).mean((2, 3))


def backbone():
    torch.manual_seed(0)
    return Patches().eval()


def blobs(height, width, seed=0, count=6):
    """Random masks of many sizes, of one pixel and of the whole image among them."""
    random = np.random.default_rng(seed)
    masks = [np.ones((height, width), bool), np.zeros((height, width), bool)]
    masks[1][height - 1, width - 1] = True
    for number in range(count):
        small = random.random((max(height >> number, 2), max(width >> number, 2))) < 0.2
        small[0, 0] = True
        masks.append(np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)))
    random_box = np.zeros((height, width), bool)
    random_box[height // 3 : height // 3 + 5, width // 2 : width // 2 + 7] = True
    return [*masks, random_box]


def scene_of(height, width, seed=0, masks=None):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    masks = blobs(height, width, seed) if masks is None else masks
    regions = tuple(map(region_from_mask, masks))
    found = ImageRegions(image_id="a", content_hash="", height=height, width=width, regions=regions)
    return Scene(image_id="a", pixels=pixels, content_hash=""), found


def naive_shares(mask, grid_hw):
    """Share of each cell, by exact overlaps of every pixel with every cell, in float64."""
    height, width = mask.shape

    def overlaps(size, cells):
        edges = np.arange(cells + 1) * size / cells
        pixels = np.arange(size)
        inner = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        return np.maximum(inner, 0) / (size / cells)

    down, across = overlaps(height, grid_hw[0]), overlaps(width, grid_hw[1])
    shares = np.zeros(grid_hw)
    for row in range(grid_hw[0]):
        for column in range(grid_hw[1]):
            shares[row, column] = down[row] @ mask @ across[column]
    return shares


@pytest.mark.parametrize(("height", "width", "grid_hw"), [(37, 53, (5, 7)), (64, 48, (8, 6)), (10, 90, (3, 11))])
def test_shares_are_those_of_the_decoded_mask(height, width, grid_hw):
    _, found = scene_of(height, width)
    for number in range(len(found.regions)):
        top, left, shares = region_shares(found, number, grid_hw)
        whole = np.zeros(grid_hw)
        whole[top : top + shares.shape[0], left : left + shares.shape[1]] = shares
        np.testing.assert_allclose(whole, naive_shares(found.mask(number), grid_hw), atol=1e-9)
        assert whole.sum() > 0  # never an empty region, however small


@pytest.mark.parametrize("size", [(40, 56), (33, 65)])
def test_a_region_is_the_mean_of_its_patches_weighted_by_their_shares(size):
    scene, found = scene_of(*size)
    config = EmbedConfig(image_px=32, window_cells=0)
    numbers = range(len(found.regions))
    (vectors,) = pooled_vectors(backbone(), [(scene, found, numbers)], config, CPU)
    (whole,) = windows_of(size, found, numbers, 32, 8, 0)
    assert whole.grid_hw == levels(*size, 32, 8)[0]
    pixels = torch.from_numpy(whole.pixels(Image.fromarray(scene.pixels), 8))[None].float() / 255
    with torch.inference_mode():
        cells = backbone().layer(pixels)[0].double().numpy()
    np.testing.assert_allclose(vectors[0], cells.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-6)  # a region that is the whole image
    for number in numbers:
        shares = naive_shares(found.mask(number), whole.grid_hw)
        np.testing.assert_allclose(vectors[1 + number], (cells * shares).sum((1, 2)) / shares.sum(), atol=1e-5)


@pytest.mark.parametrize("size", [(150, 210), (97, 400)])
def test_windows_agree_with_the_level_as_a_whole(size):
    """On a backbone whose cells see their patch alone, so that borders of windows do no harm."""
    scene, found = scene_of(*size, masks=blobs(*size, count=8))
    numbers = range(len(found.regions))
    planned = list(windows_of(size, found, numbers, 32, 8, 4.0))
    finest = levels(*size, 32, 8)[-1]
    assert sum(window.grid_hw == finest for window in planned) > 1
    (vectors,) = pooled_vectors(backbone(), [(scene, found, numbers)], EmbedConfig(image_px=32, window_cells=4.0), CPU)
    for number in numbers:
        grids = [window.grid_hw for window in planned if 1 + number in window.rows]
        assert len(set(grids)) == 1
        gh, gw = grids[0]
        pixels = np.asarray(Image.fromarray(scene.pixels).resize((gw * 8, gh * 8), Image.Resampling.BILINEAR))
        with torch.inference_mode():
            cells = backbone().layer(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255)
        shares = naive_shares(found.mask(number), (gh, gw))
        wanted = (cells[0].double().numpy() * shares).sum((1, 2)) / shares.sum()
        np.testing.assert_allclose(vectors[1 + number], wanted, atol=2e-3)  # pixels are rounded to 8 bits


def test_a_region_goes_to_the_coarsest_level_that_holds_it():
    _, found = scene_of(150, 210)
    grids = levels(150, 210, 32, 8)
    assert grids[0] == (4, 6)
    assert grids[-1] == (16, 22)  # four times as fine, of which the image has 4.7
    for window in windows_of((150, 210), found, range(len(found.regions)), 32, 8, 2.0):
        level = grids.index(window.grid_hw)
        for row in window.rows:
            if row > 0:
                share = found.regions[row - 1].area_px / (150 * 210)
                fits = [share * gh * gw >= 2.0 for gh, gw in grids]
                assert level == (fits.index(True) if any(fits) else len(grids) - 1)


def test_an_image_no_larger_than_the_working_size_has_one_level():
    assert levels(32, 40, 32, 8) == [(4, 5)]
    assert levels(10, 12, 32, 8) == [(4, 5)]  # enlarged, as dense tasks do
    assert levels(1, 1, 32, 8) == [(4, 4)]
    assert levels(47, 60, 32, 8) == [(4, 5)]  # 1.47 times as fine
    assert levels(48, 60, 32, 8) == [(4, 5), (6, 8)]


def test_a_panorama_costs_no_more_than_four_squares():
    grids = levels(100, 60_000, 224, 16)
    assert grids[0][0] * grids[0][1] <= 1.2 * FULLEST * 14**2
    assert grids[-1] == (5, 2743)


@pytest.mark.parametrize("cells", [1, 6, 7, 8, 11, 40])
@pytest.mark.parametrize("side", [1, 2, 7])
def test_weights_of_overlapping_windows_add_up_to_one(cells, side):
    first, weights = axis_windows(cells, side)
    total = np.zeros(cells)
    for start, weight in zip(first, weights, strict=True):
        assert (weight > 0).all()
        total[start : start + len(weight)] += weight
    np.testing.assert_allclose(total, 1)
    if len(first) > 1 and side > 1:
        assert (np.diff(first) <= side - np.ceil(side / 4)).all()


def test_crops_are_the_padded_boxes():
    scene, found = scene_of(40, 56)
    (vectors,) = crop_vectors(
        backbone(), [(scene, found, [2, 8])], EmbedConfig(image_px=16, regions_by="crop"), FilterConfig(), CPU
    )
    for row, box in enumerate([(0, 0, 56, 40), *(padded_box(found.regions[n].box_xyxy, 1.3, 40, 56) for n in (2, 8))]):
        cut = Image.fromarray(scene.pixels).resize((16, 16), Image.Resampling.BILINEAR, box=box)
        pixels = torch.from_numpy(np.asarray(cut).transpose(2, 0, 1).copy())[None].float() / 255
        with torch.inference_mode():
            np.testing.assert_allclose(vectors[row], backbone()(pixels)[0].numpy(), atol=1e-5)

"""Laws of background mixing: the mask stays, the rest is another image's, and nothing else of the plan moves."""

import itertools

import numpy as np
import pytest
import torch
from laws.test_plan import assert_same_colours, make_index, planner

from samclr.config.pretrain import ViewsConfig
from samclr.errors import ConfigError
from samclr.views.backgrounds import mix_backgrounds
from samclr.views.crop import ViewCropper
from samclr.views.plan import NO_BACKGROUND, WHOLE_IMAGE
from samclr.views.shares import mask_at_pixels


class FlatCropper(ViewCropper):
    """Stands in for the bank: every crop of image k is filled with 100 + k."""

    def __init__(self):
        """Without a bank."""

    def crop(self, image_index, boxes_xyxy, size_px):
        flat = np.full((*boxes_xyxy.shape[:2], 3, size_px, size_px), 100, np.uint8)
        return flat + image_index.astype(np.uint8)[:, None, None, None, None]


def test_boxes_and_colours_stay_as_they_are_without_mixing():
    for step in range(3):
        plain, mixed = planner().plan(step), planner(background_mix_prob=0.5).plan(step)
        assert (plain.region_index == mixed.region_index).all()
        for one, other in zip(plain.groups, mixed.groups, strict=True):
            assert (one.boxes_xyxy == other.boxes_xyxy).all()
            assert_same_colours(one, other)
            assert (one.background_image == NO_BACKGROUND).all()


def test_backgrounds_come_from_other_images_for_regions_alone():
    seen = 0
    for step in range(20):
        plan = planner(background_mix_prob=1.0).plan(step)
        (group,) = plan.groups
        whole = plan.region_index == WHOLE_IMAGE
        assert (group.background_image[whole] == NO_BACKGROUND).all()
        others = group.background_image[~whole]
        assert (others != plan.image_index[~whole, None]).all()
        assert others.min() >= 0
        assert others.max() < 7
        boxes = group.background_xyxy[~whole]
        assert (boxes[..., :2] >= 0).all()
        assert (boxes[..., 2:] <= 100).all()
        assert (boxes[..., 2:] > boxes[..., :2]).all()
        assert plan.counts["mixed_backgrounds"] == others.size
        seen += others.size
    assert seen > 50
    half = sum(planner(background_mix_prob=0.5).plan(step).counts["mixed_backgrounds"] for step in range(20))
    assert 0.3 * seen < half < 0.7 * seen


def test_the_mask_stays_and_the_rest_is_replaced():
    plan = planner(background_mix_prob=1.0).plan(0)
    (group,) = plan.groups
    regions = make_index([3, 0, 5, 1, 2, 7, 4])
    regions.grid[:, :, 16:] = 0  # masks fill the left halves of their boxes
    views = FlatCropper().crop(plan.image_index, group.boxes_xyxy, group.size_px) + np.uint8(100)
    before = views.copy()
    sizes = np.full((len(views), 2), 100)
    mix_backgrounds(torch.from_numpy(views), group, plan.region_index, sizes, regions, FlatCropper())
    for row, region in enumerate(plan.region_index):
        if region == WHOLE_IMAGE:
            assert (views[row] == before[row]).all()
            continue
        for view in range(2):
            x0, _, x1, _ = group.boxes_xyxy[row, view]
            centres = x0 + (np.arange(16) + 0.5) / 16 * (x1 - x0)
            left, _, right, _ = regions.mask_box_xyxy[region]
            inside = (centres > left + 1) & (centres < (left + right) / 2 - 1)
            outside = (centres > (left + right) / 2 + 1) & (centres < right)
            middle = views[row, view][:, 6:10]
            assert (middle[..., inside] == before[row, view][:, 6:10][..., inside]).all()
            assert (middle[..., outside] == 100 + group.background_image[row, view]).all()


def test_shares_follow_the_grid():
    regions = make_index([1])
    random = np.random.default_rng(0)
    regions.grid[:] = random.integers(0, 256, (1, 32, 32))
    box = regions.mask_box_xyxy[:1].astype(np.int64)
    shares = mask_at_pixels(regions, np.array([0]), box, np.array([[100, 100]]), 32)
    assert shares[0] == pytest.approx(regions.grid[0] / 255, abs=1e-5)
    beside = box + (box[:, 2:] - box[:, :2] + 5)[:, [0, 1, 0, 1]]
    assert (mask_at_pixels(regions, np.array([0]), beside, np.array([[200, 200]]), 8) == 0).all()


@pytest.mark.parametrize("edges", list(itertools.product([False, True], repeat=4)))
def test_a_mask_holds_up_to_the_edges_of_the_image_that_it_touches(edges):
    """A region of 640 x 320 px: within half a cell (10 and 5 px) of its box only an edge of the image ends it whole."""
    left, top, right, bottom = edges
    x0, y0 = 0 if left else 64, 0 if top else 64
    box = np.array([[x0, y0, x0 + 640, y0 + 320]], np.int32)
    image_hw = box[:, [3, 2]] + [[0 if bottom else 64, 0 if right else 64]]
    regions = make_index([1])
    regions.mask_box_xyxy[:] = box
    shares = mask_at_pixels(regions, np.array([0]), box, image_hw, 128)[0]
    assert shares[64, 64] == pytest.approx(1)
    for touches, side in zip(edges, (shares[64, 0], shares[0, 64], shares[64, -1], shares[-1, 64]), strict=True):
        assert side == pytest.approx(1 if touches else 0.625)


def test_without_masks_it_is_refused():
    with pytest.raises(ConfigError, match="background_mix_prob needs masks: use `strategy` region"):
        ViewsConfig(strategy="image", background_mix_prob=0.5)

"""Laws of the view plan: pure in (seed, step), the same on any number of ranks, alike between strategies."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samclr.config.pretrain import AugmentConfig, OptimConfig, PretrainConfig, ViewGroup, ViewsConfig
from samclr.errors import ConfigError
from samclr.regions.index import RegionIndex
from samclr.training.monitor import SAMPLED_PAIRS, identical_pairs_warning, sample_counts
from samclr.views.plan import ViewPlanner, widened

GROUPS = (ViewGroup(size_px=16),)


def make_index(counts, seed=0):
    random = np.random.default_rng(seed)
    total = sum(counts)
    corner = random.integers(0, 60, (total, 2))
    boxes = np.concatenate([corner, corner + random.integers(8, 40, (total, 2))], 1).astype(np.int32)
    return RegionIndex(
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        box_xyxy=boxes,
        mask_box_xyxy=boxes,
        area_px=np.full(total, 50),
        grid=np.full((total, 32, 32), 255, np.uint8),
        segment_errors=0,
    )


def planner(counts=(3, 0, 5, 1, 2, 7, 4), seed=0, batch=4, groups=GROUPS, **views):
    return ViewPlanner(
        image_hw=np.full((len(counts), 2), 100),
        regions=make_index(list(counts)),
        seed=seed,
        images_per_step=batch,
        views=ViewsConfig(**views),
        groups=groups,
        augment=AugmentConfig(),
    )


def assert_same(first, second):
    assert (first.image_index == second.image_index).all()
    assert (first.region_index == second.region_index).all()
    for one, other in zip(first.groups, second.groups, strict=True):
        assert (one.boxes_xyxy == other.boxes_xyxy).all()
        assert_same_colours(one, other)


def assert_same_colours(first, second):
    for field in fields(first.augment):
        assert (getattr(first.augment, field.name) == getattr(second.augment, field.name)).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**63), step=st.integers(0, 10**6))
def test_a_plan_is_a_function_of_seed_and_step(seed, step):
    assert_same(planner(seed=seed).plan(step), planner(seed=seed).plan(step))


def test_steps_and_seeds_differ():
    base = planner().plan(3)
    for other in (planner().plan(4), planner(seed=1).plan(3), planner(seed=2**32).plan(3)):
        assert not (base.groups[0].boxes_xyxy == other.groups[0].boxes_xyxy).all()
        assert not (base.groups[0].augment.brightness == other.groups[0].augment.brightness).all()


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_take_slices_of_one_plan(world_size):
    plan = planner(batch=8, min_coverage=0.3).plan(5)
    rows = 8 // world_size
    slices = [plan.rows(rank * rows, (rank + 1) * rows) for rank in range(world_size)]
    assert (np.concatenate([s.image_index for s in slices]) == plan.image_index).all()
    assert (np.concatenate([s.groups[0].boxes_xyxy for s in slices]) == plan.groups[0].boxes_xyxy).all()
    assert (np.concatenate([s.groups[0].augment.hue for s in slices]) == plan.groups[0].augment.hue).all()


def test_strategies_share_image_order_and_colours():
    plans = [planner(strategy=s, min_coverage=c).plan(9) for s, c in (("image", 0), ("region", 0.5), ("random-box", 0))]
    for other in plans[1:]:
        assert (plans[0].image_index == other.image_index).all()
        assert_same_colours(plans[0].groups[0], other.groups[0])
        assert not (plans[0].groups[0].boxes_xyxy == other.groups[0].boxes_xyxy).all()


@given(num_images=st.integers(1, 30), batch=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_epochs_follow_each_other_without_end(num_images, batch):
    plans = planner(counts=[1] * num_images, batch=batch)
    seen = np.concatenate([plans.images_of(step) for step in range(2 * num_images // batch + 1)])
    for first in range(0, len(seen) - num_images + 1, num_images):
        assert sorted(seen[first : first + num_images]) == list(range(num_images))


def test_every_region_is_drawn_alike():
    plans = planner(counts=(4, 4), batch=2)
    drawn = np.concatenate([plans.plan(step).region_index for step in range(2000)])
    counts = np.bincount(drawn, minlength=8)
    assert (np.abs(counts - 500) < 80).all()  # 3.8 deviations of a binomial


def test_several_regions_of_an_image_differ():
    plans = planner(counts=(5, 3, 2), batch=3, regions_per_image=3)
    for step in range(50):
        plan = plans.plan(step)
        rows = plan.region_index.reshape(3, 3)
        images = plan.image_index.reshape(3, 3)
        assert (images == images[:, :1]).all()
        assert [len(set(row)) for row in rows] == [min((5, 3, 2)[image], 3) for image in images[:, 0]]
        assert plan.counts["repeated_regions"] == 1


def test_images_without_regions_show_the_whole_image_and_are_counted():
    plan = planner(counts=(0, 2, 0), batch=3).plan(0)
    for image, region, window in zip(plan.image_index, plan.region_index, plan.window_xyxy, strict=True):
        assert (region == -1) == (image != 1)
        if region == -1:
            assert window.tolist() == [0, 0, 100, 100]
    assert plan.counts["images_without_regions"] == 2


def test_crops_lie_in_the_regions_box():
    plans = planner()
    for step in range(20):
        plan = plans.plan(step)
        boxes, window = plan.groups[0].boxes_xyxy, plan.window_xyxy[:, None]
        assert (boxes[..., :2] >= window[..., :2]).all()
        assert (boxes[..., 2:] <= window[..., 2:]).all()


def test_random_boxes_have_the_regions_size_and_a_fixed_place():
    fixed, moving = planner(strategy="random-box"), planner(strategy="random-box", redraw=True)
    places: dict[int, set] = {}
    moved: dict[int, set] = {}
    for step in range(30):
        for plans, found in ((fixed, places), (moving, moved)):
            plan = plans.plan(step)
            for region, window in zip(plan.region_index, plan.window_xyxy, strict=True):
                if region >= 0:
                    x0, y0, x1, y1 = (int(v) for v in plans.regions.box_xyxy[region])
                    assert (window[2] - window[0], window[3] - window[1]) == (x1 - x0, y1 - y0)
                    assert window.min() >= 0
                    assert window.max() <= 100
                    found.setdefault(int(region), set()).add(tuple(window.tolist()))
    assert all(len(seen) == 1 for seen in places.values())
    assert max(len(seen) for seen in moved.values()) > 1
    assert any(next(iter(seen)) != tuple(fixed.regions.box_xyxy[r].tolist()) for r, seen in places.items())


def test_coverage_is_reached_or_counted():
    index = make_index([4] * 8)
    index.grid[:, :, 16:] = 0  # the mask is the left half of each box
    plans = planner(counts=[4] * 8, batch=8, min_coverage=0.6)
    plans.regions = index
    below = counted = 0
    for step in range(20):
        plan = plans.plan(step)
        boxes = plan.groups[0].boxes_xyxy
        coverage = index.coverage(np.repeat(plan.region_index, 2), boxes.reshape(-1, 4))
        below += int((coverage < 0.6).sum())
        counted += plan.counts["coverage_fallbacks"]
    assert below == counted
    assert below < 40  # of 320; without drawing again it would be about two thirds


def test_image_views_are_mixed_in():
    plans = planner(counts=[3] * 50, batch=50, image_view_share=0.3)
    whole = np.mean([(plans.plan(step).region_index == -1).mean() for step in range(40)])
    assert abs(whole - 0.3) < 0.04


def test_groups_have_their_own_size_and_number():
    groups = (ViewGroup(size_px=16), ViewGroup(role="local", num_views=6, size_px=8, crop_scale=(0.05, 0.3)))
    plan = planner(groups=groups).plan(0)
    assert [g.boxes_xyxy.shape for g in plan.groups] == [(4, 2, 4), (4, 6, 4)]
    assert plan.groups[1].augment.flip.shape == (4, 6)
    assert_same_colours(plan.groups[0], planner().plan(0).groups[0])


# ---- thin windows ----


@settings(max_examples=50, deadline=None)
@given(
    corner=st.tuples(st.integers(0, 90), st.integers(0, 90)),
    size=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    aspect=st.floats(1, 20),
)
def test_a_widened_window_holds_the_old_one_and_is_no_thinner_than_asked(corner, size, aspect):
    x, y = corner
    box = np.array([[x, y, min(x + size[0], 100), min(y + size[1], 100)]])
    wide = widened(box, np.array([[100, 100]]), aspect)[0]
    assert (wide[:2] <= box[0, :2]).all()
    assert (wide[2:] >= box[0, 2:]).all()
    assert (wide[:2] >= 0).all()
    assert (wide[2:] <= 100).all()
    assert (wide[2:] - wide[:2]).max() <= aspect * (wide[2:] - wide[:2]).min()
    assert (wide[2:] - wide[:2]).max() == (box[0, 2:] - box[0, :2]).max()


def test_wide_windows_and_plans_without_the_option_stay_as_they_are():
    thick = np.array([[10, 10, 40, 30], [0, 0, 100, 50]])
    assert (widened(thick, np.full((2, 2), 100), 2.0) == thick).all()
    assert (widened(np.array([[0, 2, 100, 4]]), np.array([[10, 100]]), 3.0) == [[0, 0, 100, 10]]).all()
    assert_same(planner().plan(2), planner(max_window_aspect=100.0).plan(2))


@pytest.mark.parametrize("strategy", ["region", "random-box"])
def test_thin_windows_make_identical_pairs_unless_they_are_widened(strategy):
    thin = ViewPlanner(
        image_hw=np.full((50, 2), 200),
        regions=replace(make_index([1] * 50), box_xyxy=np.tile(np.array([[50, 5, 60, 195]], np.int32), (50, 1))),
        seed=0,
        images_per_step=50,
        views=ViewsConfig(strategy=strategy),
        groups=GROUPS,
        augment=AugmentConfig(),
    )
    config = PretrainConfig(optim=OptimConfig(global_batch_size=50))
    counts, pairs = sample_counts(config, 100, lambda step: thin.plan(step).counts)
    identical = counts["identical_pairs"]
    assert pairs == SAMPLED_PAIRS
    assert identical > 0.3 * pairs
    says = identical_pairs_warning(identical, pairs)
    for option in ("`crop_ratio`", "`min_box_px`", "`max_window_aspect` 3"):
        assert option in says
    thin.views = replace(thin.views, max_window_aspect=3.0)
    windows = thin.plan(0).window_xyxy
    assert ((windows[:, 2:] - windows[:, :2]) == [64, 190]).all()
    counts, pairs = sample_counts(config, 100, lambda step: thin.plan(step).counts)
    identical = counts["identical_pairs"]
    assert identical_pairs_warning(identical, pairs) is None
    assert identical_pairs_warning(5, 100) is None
    assert identical_pairs_warning(0, 0) is None
    assert sample_counts(config, 3, lambda step: {"identical_pairs": 1}) == ({"identical_pairs": 3}, 150)


@pytest.mark.parametrize("wrong", [0.9, 0.0, -3.0, float("nan"), float("inf")])
def test_an_aspect_under_one_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"max_window_aspect is .*; expected a number of at least 1"):
        ViewsConfig(max_window_aspect=wrong)

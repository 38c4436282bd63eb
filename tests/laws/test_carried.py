"""Laws of views that carry regions: what they show is what the exact masks cover, flipped, cropped and resized."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samclr.config.pretrain import AugmentConfig, ViewGroup, ViewsConfig
from samclr.errors import ConfigError
from samclr.regions.index import GRID, RegionIndex, occupancy_grid
from samclr.regions.records import ImageRegions, region_from_mask
from samclr.views.carried import NO_REGION
from samclr.views.make_batch import make_batch
from samclr.views.plan import ViewPlanner
from samclr.views.shares import mask_shares, with_shares

HEIGHT, WIDTH = 90, 120


def masks_of_a_scene(seed: int, count: int = 6) -> list[np.ndarray]:
    """Ellipses, bars, dots, a region of several pieces, one that is all of the image but a hole."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    made = []
    for _ in range(count):
        (cy, cx), (ry, rx) = random.uniform((0, 0), (HEIGHT, WIDTH)), random.uniform(1, 50, 2)
        made.append(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1)
    dot, everything, speckled, bar = (np.zeros((HEIGHT, WIDTH), bool) for _ in range(4))
    dot[random.integers(HEIGHT), random.integers(WIDTH)] = True
    everything[:], everything[20:40, 30:50] = True, False
    speckled[random.integers(HEIGHT, size=300), random.integers(WIDTH, size=300)] = True
    bar[HEIGHT - 2 :, 5:] = True
    return [mask for mask in [*made, dot, everything, speckled, bar] if mask.any()]


def index_of(scenes: list[list[np.ndarray]]) -> RegionIndex:
    found = [
        ImageRegions(
            image_id=str(number), content_hash="0" * 32, height=HEIGHT, width=WIDTH,
            regions=tuple(region_from_mask(mask) for mask in masks),
        )
        for number, masks in enumerate(scenes)
    ]  # fmt: skip
    every = [(one, number) for one in found for number in range(len(one.regions))]
    boxes = np.array([one.regions[number].box_xyxy for one, number in every], np.int32).reshape(-1, 4)
    return RegionIndex(
        start=np.cumsum([0, *(len(one.regions) for one in found)]),
        box_xyxy=boxes,
        mask_box_xyxy=boxes,
        area_px=np.array([one.regions[number].area_px for one, number in every], np.int64),
        grid=np.array([occupancy_grid(one, number) for one, number in every], np.uint8).reshape(-1, GRID, GRID),
        segment_errors=0,
    )


def exact_shares(mask: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """Area of the decoded mask in each of side x side parts of a box, over the part's area."""
    sums = np.zeros((HEIGHT + 1, WIDTH + 1))
    sums[1:, 1:] = mask.cumsum(0).cumsum(1)
    x, y = (low + np.arange(side + 1) / side * (high - low) for low, high in ((box[0], box[2]), (box[1], box[3])))
    rows = np.stack([np.interp(y, np.arange(HEIGHT + 1), column) for column in sums.T], 1)  # [side+1, WIDTH+1]
    corners = np.stack([np.interp(x, np.arange(WIDTH + 1), row) for row in rows])
    return np.diff(np.diff(corners, axis=0), axis=1) / ((x[1] - x[0]) * (y[1] - y[0]))


def grid_error(region_box: np.ndarray, box: np.ndarray, side: int) -> float:
    """Largest error of one part's share: a cell of the grid that its border cuts is wrong by a quarter of itself."""
    cell_w, cell_h = (region_box[2:] - region_box[:2]) / GRID
    part_w, part_h = (box[2:] - box[:2]) / side
    cut = 2 * (min(part_w / cell_w, GRID) + 2) + 2 * (min(part_h / cell_h, GRID) + 2)
    return 0.25 * cut * cell_w * cell_h / (part_w * part_h) + 1 / 510


boxes_in_the_image = st.tuples(
    st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, WIDTH), st.integers(1, HEIGHT)
).map(lambda b: np.array([b[0], b[1], min(b[0] + b[2], WIDTH), min(b[1] + b[3], HEIGHT)]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 50), box=boxes_in_the_image, side=st.sampled_from([1, 3, 7, 14]))
def test_shares_are_the_decoded_masks_areas(seed, box, side):
    masks = masks_of_a_scene(seed)
    index = index_of([masks])
    region = np.arange(len(masks))
    found = mask_shares(index, region, np.repeat(box[None], len(masks), 0), side)
    for number, mask in enumerate(masks):
        error = np.abs(found[number] - exact_shares(mask, box, side)).max()
        assert error <= grid_error(index.mask_box_xyxy[number], box, side) + 1e-5
    whole = np.array([[0, 0, WIDTH, HEIGHT]])  # here no border of a view cuts a mask: its area to the rounding
    total = mask_shares(index, region, np.repeat(whole, len(masks), 0), side).mean((1, 2))
    box_px = (index.mask_box_xyxy[:, 2:] - index.mask_box_xyxy[:, :2]).prod(1)
    assert (np.abs(total * HEIGHT * WIDTH - index.area_px) <= box_px / 510 + 1e-2).all()


GROUPS = (ViewGroup(size_px=16),)


def planner(scenes, *, batch=4, side=7, groups=GROUPS, seed=0, **views):
    return ViewPlanner(
        image_hw=np.full((len(scenes), 2), (HEIGHT, WIDTH)),
        regions=index_of(scenes),
        seed=seed,
        images_per_step=batch,
        views=ViewsConfig(**({"strategy": "image", "carried_regions": 4} | views)),
        groups=groups,
        augment=AugmentConfig(),
        map_sides=(side,) * len(groups),
    )


SCENES = [masks_of_a_scene(0), [], masks_of_a_scene(1, 2), masks_of_a_scene(2, 1)[:2], masks_of_a_scene(3, 12)]


@pytest.mark.parametrize("strategy", ["image", "region", "random-box"])
def test_a_batch_has_the_exact_masks_of_its_views(strategy):
    """Every cell of every carried region, after crop and flip; what is shown, by the exact area."""
    plans = planner(SCENES, batch=10, strategy=strategy, window_margin=0.0 if strategy == "image" else 0.5)
    masks = [mask for scene in SCENES for mask in scene]
    flips = set()
    for step in range(4):
        plan = with_shares(plans.plan(step), plans.regions)
        (group,) = plan.groups
        for row, view in np.ndindex(*group.boxes_xyxy.shape[:2]):
            box, flip = group.boxes_xyxy[row, view], bool(group.augment.flip[row, view])
            for place, region in enumerate(plan.carried[row]):
                share = group.region_shares[row, view, place]
                if region == NO_REGION:
                    assert not share.any()
                    assert not group.region_shown[row, view, place]
                    continue
                start = plans.regions.start
                assert start[plan.image_index[row]] <= region < start[plan.image_index[row] + 1]
                exact = exact_shares(masks[region], box, 7)
                error = grid_error(plans.regions.mask_box_xyxy[region], box, 7)
                assert np.abs((share[:, ::-1] if flip else share) - exact).max() <= error + 1e-5
                area = exact.mean() * (box[2:] - box[:2]).prod()
                least = max((box[2:] - box[:2]).prod() / 49, 0.1 * masks[region].sum())
                if not least * 0.9 < area < least * 1.1:
                    assert group.region_shown[row, view, place] == (area > least)
                flips.add(flip)
    assert flips == {False, True}


def test_regions_are_drawn_without_replacement_from_those_that_two_views_show():
    plans = planner(SCENES, batch=5, carried_regions=3, shown_cells=0.2, shown_frac=0.05)
    everything = planner(SCENES, batch=5, carried_regions=40, shown_cells=0.2, shown_frac=0.05)
    drawn: dict[int, int] = {}
    for step in range(30):
        plan, whole = plans.plan(step), everything.plan(step)
        for row, regions in enumerate(plan.carried):
            own = regions[regions != NO_REGION]
            there = whole.carried[row][whole.carried[row] != NO_REGION]
            assert len(own) == len(set(own)) == min(3, len(there))
            assert set(own) <= set(there)
            assert (regions[len(own) :] == NO_REGION).all()
            assert plan.groups[0].region_shown[row][:, : len(own)].all()  # of two views, both
            for region in own:
                drawn[region] = drawn.get(region, 0) + 1
        assert plan.counts["carried_regions"] == int((plan.carried != NO_REGION).sum())
        assert plan.counts["rows_without_regions"] == int((plan.carried == NO_REGION).all(1).sum())
    assert len(drawn) > 20


def test_carrying_changes_nothing_else_and_is_pure_in_seed_and_step():
    plans, bare = planner(SCENES, strategy="region"), planner(SCENES, strategy="region", carried_regions=0)
    for step in (0, 7):
        plan, plain = plans.plan(step), bare.plan(step)
        assert plain.carried is plain.groups[0].region_shown is plain.groups[0].map_side is None
        assert (plan.groups[0].boxes_xyxy == plain.groups[0].boxes_xyxy).all()
        assert (plan.groups[0].augment.hue == plain.groups[0].augment.hue).all()
        assert plan.counts.items() > plain.counts.items()
        again = planner(SCENES, strategy="region").plan(step)
        assert (again.carried == plan.carried).all()
        assert (planner(SCENES, strategy="region", seed=1).plan(step).carried != plan.carried).any()
        whole = with_shares(plan, plans.regions)
        for rank in range(2):
            part = with_shares(plan.rows(2 * rank, 2 * rank + 2), plans.regions)
            assert (part.carried == plan.carried[2 * rank :][:2]).all()
            assert (part.groups[0].region_shares == whole.groups[0].region_shares[2 * rank :][:2]).all()


def test_local_views_count_and_one_of_two_must_be_global():
    groups = (ViewGroup(size_px=16), ViewGroup(role="local", num_views=4, size_px=8, crop_scale=(0.05, 0.2)))
    plans = planner(SCENES, batch=5, groups=groups, shown_cells=0.5)
    lone = 0
    for step in range(20):
        plan = plans.plan(step)
        shown = np.concatenate([group.region_shown for group in plan.groups], 1)
        there = plan.carried != NO_REGION
        assert (shown.sum(1)[there] >= 2).all()
        assert (shown[:, :2].any(1))[there].all()
        lone += int((shown[:, :2].sum(1)[there] == 1).sum())
    assert lone > 0


def test_a_batch_carries_them_to_the_device_and_in_parts():
    plans = planner(SCENES, strategy="region")
    plan = with_shares(plans.plan(0), plans.regions)
    crops = [torch.zeros(4, 2, 3, 16, 16, dtype=torch.uint8)]
    batch = make_batch(plan, crops, torch.device("cpu"))
    assert batch.carried.tolist() == plan.carried.tolist()
    assert batch.rows(1, 3).carried.tolist() == plan.carried[1:3].tolist()
    shown = batch.shown_shares[0]
    assert shown.shape == (4, 2, 4, 7, 7)
    assert torch.equal(shown.sum((-1, -2)) > 0, batch.groups[0].region_shown)
    assert batch.to("meta").groups[0].region_shares.device.type == "meta"
    plain = make_batch(replace(plan, carried=None), crops, torch.device("cpu"))
    assert plain.carried is None


def test_windows_have_their_margin_and_stay_in_the_image():
    bare, wider = (planner(SCENES, strategy="region", window_margin=margin) for margin in (0.0, 0.25))
    for step in range(10):
        plain, plan = bare.plan(step), wider.plan(step)
        for row in np.flatnonzero(plain.region_index != NO_REGION):
            x0, y0, x1, y1 = plain.window_xyxy[row]
            more_w, more_h = round((x1 - x0) * 0.25), round((y1 - y0) * 0.25)
            expected = max(x0 - more_w, 0), max(y0 - more_h, 0), min(x1 + more_w, WIDTH), min(y1 + more_h, HEIGHT)
            assert plan.window_xyxy[row].tolist() == list(map(int, expected))


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ConfigError, match=r"carried_regions is 2, but background_mix_prob 0\.5 takes what lies around"):
        ViewsConfig(background_mix_prob=0.5, carried_regions=2)

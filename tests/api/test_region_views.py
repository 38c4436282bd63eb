"""RegionViews and RegionDataset: the command's own batches, for any loop."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.runs import small_config
from torch.utils.data import DataLoader

import samclr
from samclr.config import DataConfig, FilterConfig, LocalViews, ViewsConfig
from samclr.errors import ConfigError, ScenesError, UsageError
from samclr.methods.create import create_method
from samclr.regions.coarsest import padded_box
from samclr.training.optim import create_optimizer, set_rates
from samclr.views.data import bank_of, bank_path, prepare_data


@pytest.fixture
def store(scenes, tmp_path):
    return samclr.segment(scenes, out=tmp_path / "store", segmenter="felzenszwalb", workers=1, min_size=20)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.pixels, other.pixels, strict=True)) and torch.equal(
        one.region_index, other.region_index
    )


@pytest.mark.parametrize("recipe", ["simclr", "samclr", "samdino", "samdetcon"])
def test_a_plain_loop_has_the_commands_losses_bit_for_bit(recipe, scenes, store, tmp_path):
    config = small_config(scenes, None if recipe == "simclr" else store.path, recipe, steps=3)
    run = samclr.pretrain(config, tmp_path / "run")
    config = run.config
    before, method = torch.get_num_threads(), create_method(config, 3)
    torch.set_num_threads(1)
    optimizer = create_optimizer(method, config.optim)
    losses = []
    for batch in DataLoader(samclr.RegionViews.from_config(config), batch_size=None):
        set_rates(optimizer, batch.step, 3, config.optim)
        optimizer.zero_grad()
        output = method.loss(batch)
        output.loss.backward()
        if config.optim.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(method.parameters(), config.optim.clip_norm)
        optimizer.step()
        method.after_step(batch.step, output.pending)
        losses.append(output.loss.item())
    torch.set_num_threads(before)
    assert losses == [row["loss"] for row in run.metrics()]
    assert all(torch.equal(a, b) for a, b in zip(
        method.online_encoder.backbone.state_dict().values(), run.backbone().state_dict().values(), strict=True
    ))  # fmt: skip


def other_data(scenes, store, tmp_path):
    """For each setting of the data another value than it usually has; of the scenes, two places."""
    left_out = tmp_path / "left-out.txt"
    left_out.write_text("a/000.png\na/002.png\n")
    both = tmp_path / "both"
    both.mkdir()
    Image.new("RGB", (40, 40), "teal").save(both / "one.png")
    Image.new("RGB", (40, 40), "navy").save(both / "two.png")
    return {
        "scenes": (scenes, both),
        "image_column": None,  # of Parquet files alone; a column without any is refused
        "exclude": left_out,
        "regions": store.path,
        "bank": tmp_path / "elsewhere",
        "max_side": 32,
        "codec": "jpeg",
        "held_out": 0.25,
    }


def test_views_of_a_configuration_are_of_its_data_whatever_setting_differs(scenes, store, tmp_path):
    usual = small_config(scenes, None, "simclr", steps=3)
    others = other_data(scenes, store, tmp_path)
    assert set(others) == {one.name for one in fields(DataConfig)}
    for name, value in others.items():
        config = replace(usual, data=replace(usual.data, **{"bank": None, name: value}))
        if name == "regions":
            config = replace(config, views=ViewsConfig(strategy="region"))
        trained, views = prepare_data(config), samclr.RegionViews.from_config(config)
        assert views._fingerprint == trained.fingerprint, name
        assert bank_of(views._data) == bank_path(config), name
        assert views.num_images == trained.bank.num_images, name
        for batch in views:
            plan = trained.planner.plan(batch.step)
            assert batch.image_index.tolist() == plan.image_index.tolist(), name
            assert np.array_equal(batch.groups[0].boxes_xyxy, plan.groups[0].boxes_xyxy), name
    left_out = samclr.RegionDataset(scenes, exclude=others["exclude"], held_out=0.25, workers=1)
    assert len(left_out) == 10 - 2
    assert not {"a/000.png", "a/002.png"} & set(left_out.image_ids)


def test_views_of_a_recipe_that_continues_weights_leave_out_what_it_holds_out(scenes, store):
    config = small_config(scenes, store.path, "adapt", steps=100)
    assert config.data.held_out is None
    assert samclr.RegionViews.from_config(config).num_images == 12 - 1


def test_views_of_a_configuration_begin_within_it(scenes):
    config = small_config(scenes, None, "simclr", steps=3)
    assert len(samclr.RegionViews.from_config(config, start_step=2)) == 1
    with pytest.raises(ConfigError, match="start_step is 99; expected 0 to steps, 3"):
        samclr.RegionViews.from_config(config, start_step=99)
    epochs = replace(config, optim=replace(config.optim, epochs=20.0, steps=1))  # of one step each
    assert len(samclr.RegionViews.from_config(epochs, start_step=12)) == 8


def test_views_of_whole_images_carry_regions_on_a_map_that_is_stated(scenes, store, tmp_path):
    carrying = ViewsConfig(strategy="image", carried_regions=3)
    (batch, *_) = small_views(scenes, store, views=carrying, map_sides=4)
    (group,) = batch.groups
    assert (batch.carried.shape, group.region_shown.shape) == ((4, 3), (4, 2, 3))
    assert group.region_shares.shape == (4, 2, 3, 4, 4)
    assert batch.region_index.tolist() == [-1] * 4
    assert (group.region_shown.any(1) == (batch.carried >= 0)).all()
    halves = [next(iter(small_views(scenes, store, views=carrying, map_sides=4, rank=r, world_size=2))) for r in (0, 1)]
    assert torch.equal(torch.cat([half.groups[0].region_shares for half in halves]), group.region_shares)
    with pytest.raises(ConfigError, match="map_sides is None; views that carry 3 regions need the number of cells"):
        small_views(scenes, store, views=carrying)
    with pytest.raises(UsageError, match="carried_regions 3 needs regions: run `samclr segment SCENES"):
        small_views(scenes, None, views=carrying, map_sides=4)
    with pytest.raises(UsageError, match="carried_regions 16 needs regions"):
        samclr.pretrain(small_config(scenes, None, "detcon"), tmp_path / "run")


def small_views(scenes, store, **more):
    options = {"batch_size": 4, "steps": 5, "size_px": 16, "filter": FilterConfig(min_area_px=20), "workers": 1}
    return samclr.RegionViews(scenes, store and store.path, **(options | more))


def test_resumed_sliced_and_sent_views_are_the_same(scenes, store):
    whole = list(small_views(scenes, store))
    assert [batch.step for batch in whole] == [0, 1, 2, 3, 4]
    assert not same(whole[0], whole[1])
    resumed = small_views(scenes, store, start_step=3)
    assert len(resumed) == 2
    assert all(same(a, b) for a, b in zip(resumed, whole[3:], strict=True))
    ranks = [list(small_views(scenes, store, rank=rank, world_size=2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *ranks, strict=True):
        assert torch.equal(batch.pixels[0], torch.cat([first.pixels[0], second.pixels[0]]))
    views = small_views(scenes, store)
    sent = pickle.dumps(views)
    assert len(sent) < 6000
    assert all(same(a, b) for a, b in zip(pickle.loads(sent), whole, strict=True))
    workers = DataLoader(views, batch_size=None, num_workers=2)
    assert all(same(a, b) for a, b in zip(workers, whole, strict=True))


def test_without_regions_and_with_local_views(scenes, store):
    whole = next(iter(small_views(scenes, None)))
    assert (whole.region_index == -1).all()
    assert small_views(scenes, None).num_regions == 0
    local = small_views(scenes, store, local=LocalViews(num_local_views=3, local_size_px=8), num_views=1)
    assert [tuple(group.shape) for group in next(iter(local)).pixels] == [(4, 1, 3, 16, 16), (4, 3, 3, 8, 8)]
    several = small_views(scenes, store, views=ViewsConfig(strategy="region", regions_per_image=2))
    assert len(next(iter(several)).image_index) == 8


def test_what_cannot_be_is_refused(scenes, store):
    for wrong, error, text in (
        ({"rank": 0}, ConfigError, "rank or world_size is given alone"),
        ({"rank": 2, "world_size": 2}, ConfigError, "rank is 2; expected 0 to 1"),
        ({"rank": 0, "world_size": 3}, ConfigError, "batch_size is 4; expected a multiple of world_size, 3"),
        ({"start_step": 6}, ConfigError, "start_step is 6; expected 0 to steps, 5"),
        ({"batch_size": 0}, ConfigError, "batch_size is 0; expected a whole number from 1"),
        ({"steps": -1}, ConfigError, "steps is -1; expected a whole number from 0"),
        ({"seed": 2**70}, ConfigError, "seed is 1180591620717411303424; expected a whole number from 0"),
        ({"seed": -1}, ConfigError, "seed is -1; expected a whole number from 0"),
        ({"workers": 0}, ConfigError, "workers is 0; expected a whole number from 1"),
        ({"device": "gpu"}, ConfigError, "device is 'gpu'"),
        ({"strategy": "region", "views": ViewsConfig()}, ConfigError, "give one of the two"),
    ):
        with pytest.raises(error, match=text):
            small_views(scenes, store, **wrong)
    with pytest.raises(UsageError, match="strategy random-box needs regions"):
        small_views(scenes, None, strategy="random-box")


def test_scenes_that_change_under_a_sent_object(scenes, store, tmp_path):
    views = pickle.dumps(small_views(scenes, None))
    Image.new("RGB", (40, 40)).save(scenes / "a" / "one-more.png")
    with pytest.raises(ScenesError, match="changed while in use"):
        next(iter(pickle.loads(views)))


def test_crops_are_the_padded_boxes_of_the_scenes(scenes, store):
    wanted = FilterConfig(min_area_px=20)
    dataset = samclr.RegionDataset(scenes, store.path, filter=wanted)
    assert len(dataset) == small_views(scenes, store).num_regions > 12
    for index in (0, 5, len(dataset) - 1):
        image_id = dataset.image_ids[dataset.image_index[index]]
        box = dataset.boxes_xyxy[index].tolist()
        found = store[image_id]
        assert tuple(box) in {padded_box(r.box_xyxy, 1.3, found.height, found.width) for r in found.regions}
        assert np.array_equal(dataset[index], Image.open(scenes / image_id).crop(box))
    assert np.array_equal(dataset[-1], dataset[len(dataset) - 1])
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    plain = samclr.RegionDataset(scenes)
    assert len(plain) == 12
    assert np.array_equal(plain[3], Image.open(scenes / plain.image_ids[3]))
    capped = samclr.RegionDataset(scenes, store.path, filter=wanted, max_side=32)
    assert np.abs(np.array(capped[0].size) * 2 - dataset[0].size).max() <= 2


def to_pixels(crop):
    return torch.from_numpy(np.array(crop.resize((8, 8)))), crop.size[0]


def test_crops_in_workers_and_sent(scenes, store):
    dataset = samclr.RegionDataset(scenes, store.path, transform=to_pixels, filter=FilterConfig(min_area_px=20))
    sent = pickle.dumps(dataset)
    assert len(sent) < 4000
    assert torch.equal(pickle.loads(sent)[1][0], dataset[1][0])
    plain, several = (list(DataLoader(dataset, batch_size=5, num_workers=number)) for number in (0, 2))
    assert len(plain) == len(several)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(plain, several, strict=True))
    with pytest.raises(ScenesError, match=r"no region of .* loosen `min_area_px` \(it is 1000000\)"):
        samclr.RegionDataset(scenes, store.path, filter=replace(FilterConfig(), min_area_px=10**6))

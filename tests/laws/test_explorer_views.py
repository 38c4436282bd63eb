"""The views that the explorer shows of a scene are training's, to the bit: boxes, draws and pixels."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from support.nested import write_nested

from samclr.config.explorer import ExplorerData
from samclr.config.pretrain import DataConfig
from samclr.config.recipes import RECIPES
from samclr.config.views import AugmentConfig, FilterConfig, LocalViews, ViewGroup, ViewsConfig
from samclr.datasets.scene_lists import write_list
from samclr.pages.explorer.sampling import AS_IT_IS
from samclr.pages.explorer.source import Source
from samclr.runs.saved import saved_config
from samclr.views.data import prepare_data
from samclr.views.plan import WHOLE_IMAGE
from samclr.views.region_views import RegionViews

FILTER = FilterConfig(min_area_px=120, containment_frac=0.6, padding=1.2)
CASES = [
    ViewsConfig(strategy="image"),
    ViewsConfig(strategy="region", regions_per_image=3),
    ViewsConfig(strategy="region", min_coverage=0.7, image_view_share=0.3, max_window_aspect=1.5),
    ViewsConfig(strategy="region", background_mix_prob=0.5, window_margin=0.2),
    ViewsConfig(strategy="random-box", regions_per_image=2),
    ViewsConfig(strategy="random-box", redraw=True),
]
AUGMENTS = [AugmentConfig(), AugmentConfig(asymmetric=True), AugmentConfig(flip_prob=0, jitter_prob=0, blur_prob=0)]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_equal_to_training(number, tmp_path, call):
    scenes, store = write_nested(tmp_path, 14, call, torn="005x.png")  # which the bank leaves out
    regions = None if CASES[number].strategy == "image" else store
    augment, local = AUGMENTS[number % 3], LocalViews(num_local_views=number % 2, local_size_px=16)
    views = RegionViews(
        scenes, regions, batch_size=5, steps=12, size_px=24, views=CASES[number], filter=FILTER, augment=augment,
        local=local, seed=3, normalisation=AS_IT_IS, rank=0, world_size=1,
    )  # fmt: skip
    batches = {batch.step: batch for batch in views}
    source = Source([scenes], ExplorerData(regions=store))
    words = {"size_px": "24", "seed": "3", "global_batch_size": "5", "num_local_views": str(local.num_local_views)}
    words |= {"local_size_px": "16"}
    for settings in (CASES[number], FILTER, augment):
        words |= {
            one.name: str(getattr(settings, one.name)).lower()
            for one in fields(settings)
            if not isinstance(getattr(settings, one.name), tuple)
        }
    plans = {step: views._source().planner.plan(step) for step in batches}
    index = views._source().regions
    seen = 0
    for scene in (0, 4, 7, 13):
        sampler = source.sampler(scene, source.begun.changed(words))
        visit = sampler.visit(0)
        while visit.step < 12:
            rows, numbers = sampler.rows(visit)
            whole, batch = plans[visit.step].chosen(numbers), batches[visit.step]
            assert rows.window_xyxy.tolist() == whole.window_xyxy.tolist()
            if index is not None:
                first = index.start[sampler.image]
                expected = np.where(whole.region_index == WHOLE_IMAGE, WHOLE_IMAGE, whole.region_index - first)
                assert rows.region_index.tolist() == expected.tolist()
            pixels = sampler.pixels(rows, source.pictures.source(scene, None))
            for own, trained, shown, given in zip(rows.groups, whole.groups, pixels, batch.groups, strict=True):
                assert own.boxes_xyxy.tolist() == trained.boxes_xyxy.tolist()
                assert own.crop_fallback.tolist() == trained.crop_fallback.tolist()
                for one in fields(own.augment):
                    assert getattr(own.augment, one.name).tolist() == getattr(trained.augment, one.name).tolist()
                expected = (given.pixels[torch.as_tensor(numbers)] * 255).round().clamp(0, 255).to(torch.uint8)
                assert (shown == expected.permute(0, 1, 3, 4, 2).numpy()).all()
                seen += shown.shape[0]
            visit = sampler.visit(visit.step + 1)
    assert seen >= 12
    assert "leaves this scene out" in source.sampler(6, source.begun)


@pytest.mark.parametrize("has_bank", [True, False])
def test_views_of_fewer_pixels_in_the_bank_count_as_enlarged(has_bank, tmp_path, call):
    """Whatever the native size of their boxes: the bank holds 40 px of a side of up to 120."""
    scenes, _ = write_nested(tmp_path, 6, call)
    data, base = DataConfig(scenes=(scenes,), max_side=40, bank=tmp_path / "bank"), RECIPES["simclr"].config
    config = replace(base, data=data, group=ViewGroup(size_px=24), optim=replace(base.optim, global_batch_size=6))
    (run := tmp_path / "run").mkdir()
    (run / "config.json").write_text(json.dumps(saved_config(config)))
    trained = prepare_data(config)
    plan = trained.planner.plan(0)
    boxes, bank = plan.groups[0].boxes_xyxy, trained.bank
    sides = np.stack([boxes[..., 3] - boxes[..., 1], boxes[..., 2] - boxes[..., 0]], -1)
    in_bank = sides * bank.bank_hw[plan.image_index, None] / bank.native_hw[plan.image_index, None]
    enlarged = (in_bank.min(-1) < 24).sum(1)
    assert plan.counts["upscaled_views"] == enlarged.sum() > (sides.min(-1) < 24).sum()
    if not has_bank:
        (tmp_path / "bank").rename(tmp_path / "elsewhere")
    source = Source([scenes], ExplorerData(run=run))
    assert (source.bank is not None) == has_bank
    for scene in range(6):
        sampler = source.sampler(scene, source.begun)
        (row,) = np.flatnonzero(plan.image_index == sampler.image)
        assert sampler.shares(sampler.visit(0), 1).enlarged == enlarged[row]


@pytest.mark.parametrize("has_bank", [True, False])
def test_of_a_run_the_steps_are_those_of_its_training(has_bank, tmp_path, call, capsys):
    scenes, _ = write_nested(tmp_path, 14, call)
    write_list(tmp_path / "twice.txt", ["002.png"], [scenes], "left out")
    data = DataConfig(scenes=(scenes,), exclude=tmp_path / "twice.txt", held_out=0.2, bank=tmp_path / "bank")
    base = RECIPES["simclr"].config
    config = replace(base, data=data, seed=3, optim=replace(base.optim, global_batch_size=5))
    (run := tmp_path / "run").mkdir()
    (run / "config.json").write_text(json.dumps(saved_config(config)))
    trained = prepare_data(config)
    numbers = {image_id: number for number, image_id in enumerate(trained.bank.image_ids)}
    if not has_bank:
        (tmp_path / "bank").rename(tmp_path / "elsewhere")
    source = Source([scenes], ExplorerData(run=run))
    assert (len(numbers), source.bank is not None) == (10, has_bank)
    for scene, image_id in enumerate(source.catalogue.ids):
        sampler = source.sampler(scene, source.begun)
        if image_id not in numbers:
            assert sampler == "training leaves this scene out: the run excludes it, holds it out, or was made of others"
            assert source.pictures.jpeg(scene, 64)
            continue
        visit = sampler.visit(4)
        shown = trained.planner.images_of(visit.step)
        assert [int(slot) for slot in np.flatnonzero(shown == numbers[image_id])] == list(visit.slots)
    assert source.set_shares(source.begun)["of_scenes"] == 10
    assert "trained" not in capsys.readouterr().err
    some = write_nested(tmp_path / "more", 5, call)[0]
    for path in sorted(some.iterdir())[3:]:
        path.unlink()
    Source([some], ExplorerData(run=run))
    assert "8 of the 10 scenes that the run trained on are not among these" in capsys.readouterr().err
    scenes.rename(tmp_path / "moved")
    moved = Source([tmp_path / "moved"], ExplorerData(run=run))
    assert (moved.pictures.bank_number == source.pictures.bank_number).all()
    assert "views are shown as if it were trained on these" in capsys.readouterr().err

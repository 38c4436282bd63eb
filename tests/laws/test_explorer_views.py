"""The views that the explorer shows of a scene are training's, to the bit: boxes, draws and pixels."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from support.nested import write_nested

from samclr.config.explorer import ExplorerData
from samclr.config.views import AugmentConfig, FilterConfig, LocalViews, ViewsConfig
from samclr.pages.explorer.sampling import AS_IT_IS
from samclr.pages.explorer.source import Source
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

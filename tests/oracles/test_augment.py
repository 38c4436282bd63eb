"""The batched augmentation against torchvision's functional transforms, given the same drawn parameters."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.config.pretrain import AugmentConfig, ViewGroup, ViewsConfig
from samclr.datasets.sources import list_scenes
from samclr.scenes.fill import FillOptions
from samclr.views.augment import (
    JITTER_ORDERS,
    JITTER_PARTS,
    augment,
    augment_batched,
    augment_on_cpu,
)
from samclr.views.crop import ViewCropper
from samclr.views.plan import ViewPlanner

ADJUST = {
    "brightness": tv.adjust_brightness,
    "contrast": tv.adjust_contrast,
    "saturation": tv.adjust_saturation,
    "hue": tv.adjust_hue,
}
BOUND = 2 / 255
CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def draw(config: AugmentConfig, step: int = 0, rows: int = 24):
    planner = ViewPlanner(
        image_hw=np.array([[427, 640], [427, 640]]),
        regions=None,
        seed=3,
        images_per_step=rows,
        views=ViewsConfig(strategy="image"),
        groups=(ViewGroup(size_px=48),),
        augment=config,
    )
    return planner.plan(step)


@pytest.fixture
def cropper(photo_folder, tmp_path):
    refs = list_scenes([photo_folder])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    return ViewCropper(SceneBank(tmp_path / "bank", refs))


def one_by_one(view, drawn, row, number):
    """torchvision on one view, with normalisation taken back at the end."""
    image = view.float() / 255
    if drawn.flip[row, number]:
        image = tv.horizontal_flip(image)
    if drawn.jitter[row, number]:
        for part in JITTER_ORDERS[drawn.jitter_order[row, number]]:
            name = JITTER_PARTS[part]
            image = ADJUST[name](image, float(getattr(drawn, name)[row, number]))
    if drawn.grey[row, number]:
        image = tv.rgb_to_grayscale(image, 3)
    if sigma := float(drawn.blur_sigma[row, number]):
        radius = min(int(np.ceil(3 * sigma)), view.shape[-1] - 1)
        image = tv.gaussian_blur(image, [2 * radius + 1] * 2, [sigma] * 2)
    if drawn.solarise[row, number]:
        image = tv.solarize(image, 0.5)
    return image


NOTHING = {"flip_prob": 0, "jitter_prob": 0, "grey_prob": 0, "blur_prob": 0}


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(),
        AugmentConfig(jitter_strength=1.0, jitter_prob=1.0),
        AugmentConfig(**NOTHING | {"flip_prob": 1}),
        AugmentConfig(**NOTHING | {"jitter_prob": 1}),
        AugmentConfig(**NOTHING | {"grey_prob": 1}),
        AugmentConfig(**NOTHING | {"blur_prob": 1}),
        AugmentConfig(**NOTHING, solarise_prob=1),
        AugmentConfig(**NOTHING),
    ],
)
@pytest.mark.parametrize("way", [augment_on_cpu, augment_batched])
def test_equal_draws_give_equal_pixels(config, cropper, way):
    plan = draw(config)
    group = plan.groups[0]
    crops, drawn = torch.from_numpy(cropper.crop(plan.image_index, group.boxes_xyxy, 48)), group.augment
    normalisation = CLIP if config.grey_prob else IMAGENET
    ours = way(crops, drawn, normalisation)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (normalisation.mean, normalisation.std))
    for row in range(len(crops)):
        for number in range(2):
            theirs = one_by_one(crops[row, number], drawn, row, number)
            difference = (ours[row, number] * std + mean - theirs).abs()
            # solarising flips values that rounding has put across the threshold: there the two sides may swap
            assert difference.max() < BOUND or (config.solarise_prob and (difference > BOUND).float().mean() < 1e-3)


@pytest.mark.parametrize("hw", [(1, 1), (2, 5), (7, 3), (33, 34)])
def test_the_two_ways_agree_on_odd_shapes(hw):
    drawn = draw(AugmentConfig(jitter_strength=1.0, solarise_prob=0.3, blur_prob=0.7), rows=64).groups[0].augment
    pixels = torch.randint(0, 256, (64, 2, 3, *hw), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    difference = (augment_on_cpu(pixels, drawn) - augment_batched(pixels, drawn)).abs()
    assert (difference > BOUND).float().mean() < 1e-3  # noise: a value at a threshold may fall on either side


def test_threads_and_neighbours_change_no_pixel():
    drawn = draw(AugmentConfig()).groups[0].augment
    pixels = torch.randint(0, 256, (24, 2, 3, 16, 16), dtype=torch.uint8)
    whole, before = augment(pixels, drawn), torch.get_num_threads()
    try:
        for num_threads in (1, 5):
            torch.set_num_threads(num_threads)
            assert torch.equal(augment(pixels, drawn), whole)
    finally:
        torch.set_num_threads(before)
    plan = draw(AugmentConfig()).rows(5, 6).groups[0]
    assert torch.equal(augment(pixels[5:6], plan.augment), whole[5:6])


def test_the_drawn_factors_have_torchvisions_ranges():
    config = AugmentConfig(jitter_strength=0.5)
    drawn = [draw(config, step, 200).groups[0].augment for step in range(10)]
    applied = np.concatenate([d.jitter.ravel() for d in drawn])
    assert abs(applied.mean() - 0.8) < 0.02
    for name, low, high in (
        ("brightness", 0.6, 1.4),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.6, 1.4),
        ("hue", -0.1, 0.1),
    ):
        values = np.concatenate([getattr(d, name).ravel() for d in drawn])[applied]
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.02 * (high - low)
    orders = np.concatenate([d.jitter_order.ravel() for d in drawn])
    assert np.bincount(orders, minlength=24).min() > 100

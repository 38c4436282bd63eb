"""Clipping, weight decay and LARS against naive loops; ranges of colour jitter against lightly's transforms."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from samclr.config.pretrain import AugmentConfig, OptimConfig
from samclr.config.recipes import RECIPES
from samclr.training.devices import clip_gradients
from samclr.training.optim import create_optimizer, set_rates


def model_with_gradients() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.randn_like(parameter) * 4**number / 50
    return model


@pytest.mark.parametrize("per", ["model", "parameter"])
def test_clipping_is_that_of_a_loop(per):
    model = model_with_gradients()
    fabric = Fabric(accelerator="cpu", devices=1)
    before = [p.grad.clone() for p in model.parameters()]
    wrapped, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    norm = clip_gradients(fabric, wrapped, optimizer, OptimConfig(clip_norm=0.5, clip_per=per))
    total = sum(float((g**2).sum()) for g in before) ** 0.5
    assert float(norm) == pytest.approx(total, rel=1e-5)
    for gradient, parameter in zip(before, model.parameters(), strict=True):
        of = total if per == "model" else float(gradient.norm())
        assert torch.allclose(parameter.grad, gradient * min(1.0, 0.5 / (of + 1e-6)), rtol=1e-5)


@pytest.mark.parametrize("decay_norm_and_bias", [True, False])
def test_weight_decay_that_begins_at_zero_rises_on_weights(decay_norm_and_bias):
    config = OptimConfig(
        weight_decay=0, weight_decay_end=0.4, decay_norm_and_bias=decay_norm_and_bias, optimizer="adamw"
    )
    optimizer = create_optimizer(model_with_gradients(), config)
    seen = []
    for step in (0, 50, 100):
        set_rates(optimizer, step, 100, config)
        seen.append(sorted(group["weight_decay"] for group in optimizer.param_groups))
    still = [] if decay_norm_and_bias else [0.0]
    assert [pytest.approx([*still, value]) for value in (0.0, 0.2, 0.4)] == seen


def test_lars_without_weight_decay_still_adapts():
    model = model_with_gradients()
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    create_optimizer(model, OptimConfig(optimizer="lars", weight_decay=0, lr=0.1)).step()
    trust = 0.001 * weight.norm() / (gradient.norm() + 1e-8)
    assert torch.allclose(model[0].weight, weight - 0.1 * trust * gradient, atol=1e-7)


def test_dino_jitters_saturation_as_lightly_does():
    from lightly.transforms.dino_transform import DINOViewTransform

    applied = next(one for one in DINOViewTransform().transform.transforms if type(one).__name__ == "RandomApply")
    theirs = applied.transforms[0]
    ours: AugmentConfig = RECIPES["dino"].config.augment
    for share, name in [(0.8, "brightness"), (0.8, "contrast"), (ours.jitter_saturation, "saturation")]:
        reach = share * ours.jitter_strength
        assert np.allclose(getattr(theirs, name), (1 - reach, 1 + reach)), name
    assert np.allclose(theirs.hue, (-0.2 * ours.jitter_strength, 0.2 * ours.jitter_strength))

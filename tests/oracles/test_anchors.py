"""The anchor beside every method: its term against separate passes, its weights against what they are copies of."""

import copy
from dataclasses import replace

import pytest
import torch
from support.batches import random_batch
from torch import nn

from samclr.config.anchors import AnchorConfig
from samclr.config.methods import ProjectorConfig
from samclr.config.pretrain import ModelConfig, OptimConfig, PretrainConfig, ViewsConfig
from samclr.config.registry import METHODS
from samclr.errors import ConfigError
from samclr.methods.anchors import Anchor, anchored
from samclr.methods.base import Encoder, Method
from samclr.methods.create import create_method
from samclr.methods.patch_losses import feature_distance, gram_distance
from samclr.models.backbone import SmallCnn
from samclr.models.maps import features_and_map

PROJECTOR = ProjectorConfig(projector_hidden=32, projector_out=8)


def method_of(name, anchor="none", backbone="small-cnn", **settings):
    config = METHODS[name].config(projector=PROJECTOR)
    views = ViewsConfig(carried_regions=3 if config.wants_regions else 0)
    model, held = ModelConfig(backbone=backbone), AnchorConfig(anchor=anchor, **settings)
    return create_method(PretrainConfig(method=config, model=model, views=views, anchor=held), 10)


def moved(method):
    """The method with its trained weights a little off its anchor's."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in method.online_encoder.backbone.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return method


@pytest.mark.parametrize("name", list(METHODS))
def test_the_term_is_that_of_separate_passes(name):
    plain, held = (
        moved(method_of(name, anchor, anchor_gram_weight=3, anchor_feature_weight=0.5)).eval()
        for anchor in ("none", "both")
    )
    local = held.config.has_local_views
    batch = random_batch(views=(2, 3), sides=(16, 12)) if local else random_batch(carried=3)
    own, output = plain.loss(batch), held.loss(batch)
    pixels = batch.pixels[0].flatten(0, 1)
    start = method_of(name).eval().online_encoder.backbone
    student, anchor = (
        features_and_map(backbone, pixels)[1].detach() for backbone in (plain.online_encoder.backbone, start)
    )
    gram, feature = gram_distance(student, anchor), feature_distance(student, anchor)
    assert min(gram, feature) > 1e-3
    torch.testing.assert_close(output.metrics["anchor_gram"], gram)
    torch.testing.assert_close(output.metrics["anchor_feature"], feature)
    torch.testing.assert_close(output.metrics["own_loss"], own.loss.detach())
    torch.testing.assert_close(output.loss.detach(), own.loss.detach() + 3 * gram + 0.5 * feature)
    assert output.chance_loss == own.chance_loss
    assert set(output.metrics) == {*own.metrics, "anchor_gram", "anchor_feature", "own_loss"}


def test_batch_norm_and_random_numbers_see_one_pass():
    """In training mode: the student's embeddings, statistics and the generator are those without an anchor."""
    plain, held = method_of("moco"), method_of("moco", "gram")
    batch = random_batch()
    for method in (plain, held):
        torch.manual_seed(3)
        own = method.embed(batch.pixels, 0)[0]
        own.sum().backward()
        method.own, method.state = own.detach(), torch.get_rng_state()
    torch.testing.assert_close(plain.own, held.own)
    assert torch.equal(plain.state, held.state)
    for (name, value), other in zip(
        plain.online_encoder.state_dict().items(), held.online_encoder.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, other, msg=name)


def test_without_one_a_method_is_what_it_was():
    assert type(method_of("simclr")).__name__ == "SimCLR"
    assert not any(name.startswith("anchor") for name in method_of("dino").state_dict())
    names = [name for name in method_of("dino", "gram").state_dict() if not name.startswith("anchor.")]
    assert names == list(method_of("dino").state_dict())


def test_the_anchor_is_of_the_start_and_stays_in_evaluation_mode():
    method = method_of("byol", "feature")
    before = copy.deepcopy(method.anchor.state_dict())
    output = moved(method).train().loss(random_batch())
    output.loss.backward()
    method.after_step(0, output.pending)
    assert all(torch.equal(value, before[name]) for name, value in method.anchor.state_dict().items())
    assert not any(module.training for module in method.anchor.modules())
    assert not any(parameter.requires_grad for parameter in method.anchor.parameters())
    assert output.metrics["anchor_feature"] > 0


@pytest.mark.parametrize("name", ["byol", "simclr"])
def test_a_lagged_anchor_is_copied_at_its_first_step_and_then_as_often_as_asked(name):
    method = method_of(name, "gram", anchor_of="lagged", anchor_start_step=2, anchor_refresh_steps=3)
    slow = method.momentum_encoder.backbone if name == "byol" else method.online_encoder.backbone
    copied = []
    for step in range(9):
        output = moved(method).loss(random_batch(step))
        method.after_step(step, output.pending)
        same = [torch.equal(a, b) for a, b in zip(slow.parameters(), method.anchor.backbone.parameters(), strict=True)]
        copied.append(all(same))
    assert [step + 1 for step, done in enumerate(copied) if done] == [2, 5, 8]


def weights(num_steps, **settings):
    anchor = Anchor(SmallCnn(), AnchorConfig(anchor="gram", **settings), num_steps)
    return [round(anchor.weight(step), 4) for step in range(num_steps)]


def test_the_weights_follow_the_schedule():
    assert weights(3) == [1, 1, 1]
    assert weights(5, anchor_start_step=2) == [0, 0, 1, 1, 1]
    assert weights(6, anchor_start_step=1, anchor_warmup_steps=2) == [0, 0.5, 1, 1, 1, 1]
    assert weights(6, anchor_start_step=1, anchor_warmup_steps=1, anchor_schedule="cosine") == [
        0, 1, 1, 0.8536, 0.5, 0.1464,
    ]  # fmt: skip


def test_before_its_start_it_costs_nothing():
    method = method_of("simclr", "gram", anchor_start_step=1)
    passes = []
    method.anchor.backbone.layers.register_forward_hook(lambda *_: passes.append(1))
    assert "own_loss" not in method.loss(random_batch(0)).metrics
    assert passes == []
    assert "own_loss" in method.loss(random_batch(1)).metrics
    assert passes == [1]


class ViewByView(Method):
    def __init__(self):
        super().__init__()
        self.online_encoder = Encoder(SmallCnn(), nn.Identity())

    def embed(self, pixels, step):
        return (torch.stack([self.online_encoder(view) for view in pixels[0].unbind(1)], 1),)


def test_what_cannot_be_anchored_is_refused():
    method = anchored(ViewByView(), AnchorConfig(anchor="gram"), 3)
    with pytest.raises(ConfigError, match="AnchoredViewByView does not encode its global views in one pass"):
        method.embed(random_batch().pixels, 0)
    method = ViewByView()
    method.online_encoder.backbone = nn.Flatten()
    with pytest.raises(ConfigError, match=r"Flatten has no feature maps .*leave `anchor` at none"):
        anchored(method, AnchorConfig(anchor="gram"), 3)
    with pytest.raises(ConfigError, match="anchor_start_step is 7; expected fewer than the run's 7 steps"):
        PretrainConfig(anchor=AnchorConfig(anchor="gram", anchor_start_step=7), optim=OptimConfig(steps=7))
    with pytest.raises(ConfigError, match="anchor_gram_weight is 0"):
        AnchorConfig(anchor="gram", anchor_gram_weight=0)
    assert replace(AnchorConfig(), anchor_start_step=10**6).anchor == "none"

"""Gentle training against its originals: timm's groups and average, peft's merge, naive loops."""

import copy

import pytest
import timm
import torch
from lightning_fabric import Fabric
from peft.tuners.lora import Linear as PeftLinear
from support.batches import random_batch
from timm.optim import param_groups_layer_decay
from timm.utils import ModelEmaV3
from torch import nn

from samclr.config import ModelConfig, OptimConfig, PretrainConfig, ProjectorConfig, ViewGroup, ViewsConfig
from samclr.config.registry import METHODS
from samclr.errors import ConfigError
from samclr.methods.create import backbone_of, backbones_of, create_method, follow_weights
from samclr.models.backbone import create_backbone
from samclr.models.drop_path import without_drop_path
from samclr.models.freeze import freeze
from samclr.models.lora import add_lora, merged
from samclr.models.momentum import average, momentum_copy
from samclr.models.resolve import resolve_config
from samclr.training.devices import set_up
from samclr.training.micro_batches import backward
from samclr.training.optim import create_optimizer, set_rates

HEAD = ProjectorConfig(projector_hidden=8, projector_out=4, projector_norm=False)


def config_of(name: str = "simclr", optim: OptimConfig | None = None, px: int = 32, **model) -> PretrainConfig:
    own = METHODS[name].config(projector=HEAD)
    return PretrainConfig(
        method=own,
        views=ViewsConfig(strategy="image", carried_regions=3 if own.wants_regions else 0),
        model=ModelConfig(**{"backbone": "small-cnn"} | model),
        group=ViewGroup(size_px=px),
        optim=optim or OptimConfig(),
    )


@pytest.mark.parametrize(
    ("name", "decay_norm_and_bias"),
    [("test_vit", True), ("test_resnet", False), ("test_convnext", True), ("test_efficientnet", False)],
)
def test_layer_decay_has_timms_groups(name, decay_norm_and_bias):
    """Those of the model with a classifier, which stands where the heads stand."""
    optim = OptimConfig(
        layer_decay=0.5, lr=1.0, weight_decay=0.3, optimizer="adamw", decay_norm_and_bias=decay_norm_and_bias
    )
    method = create_method(config_of(optim=optim, backbone=name), 1)
    optimizer = create_optimizer(method, optim)
    assert set_rates(optimizer, 0, 10, optim) == 1.0
    classifier = timm.create_model(name, num_classes=3)
    theirs = param_groups_layer_decay(classifier, weight_decay=0.3, layer_decay=0.5)
    wanted = {id(p): (group["lr_scale"], group["weight_decay"]) for group in theirs for p in group["params"]}
    wanted = {name: wanted[id(p)] for name, p in classifier.named_parameters()}
    ours = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in backbone_of(method).named_parameters():
        rate, decay = ours.pop(id(parameter))
        assert rate == wanted[name][0], name
        assert decay == (0.3 if decay_norm_and_bias else wanted[name][1]), name
    assert {rate for rate, _ in ours.values()} == {1.0}  # the heads
    assert len(ours) == len(list(method.online_encoder.head.parameters()))


def test_the_backbone_warms_up_after_the_heads_and_each_layer_in_its_share():
    optim = OptimConfig(steps=20, lr=2.0, warmup_steps=4, head_warmup_steps=6, layer_decay=0.5)
    optimizer = create_optimizer(create_method(config_of(optim=optim), 20), optim)
    plain = OptimConfig(steps=20, lr=2.0, warmup_steps=4)
    whole = create_optimizer(create_method(config_of(optim=plain), 20), plain)
    for step in range(20):
        set_rates(optimizer, step, 20, optim)
        rate = set_rates(whole, step, 20, plain)
        ramp = min(max(step - 6 + 1, 0) / 4, 1.0) * 2.0
        wanted = {rate, *(min(rate, ramp) * 0.5**above for above in (1, 2, 3, 4))}
        assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx(sorted(wanted)), step
    assert len(whole.param_groups) == 1  # at the defaults as ever


def test_what_has_no_groups_is_refused():
    for setting, model, optim in [("freeze", {"freeze": 1}, {}), ("layer_decay", {}, {"layer_decay": 0.5})]:
        config = config_of(optim=OptimConfig(**optim), backbone="pit_ti_224", px=224, **model)
        with pytest.raises(ConfigError, match=f"pit_ti_224 has no groups of layers, which `{setting}` counts"):
            create_optimizer(create_method(config, 1), config.optim)
    with pytest.raises(ConfigError, match="freeze is 5; small-cnn has 4 groups of layers; expected from 0 to 4, or al"):
        create_method(config_of(freeze=5), 1)


@pytest.mark.parametrize("groups", [1, 3, "all"])
def test_what_is_frozen_is_what_timm_decays_most(groups):
    backbone = create_backbone(ModelConfig(backbone="test_resnet"), 32)
    freeze(backbone, groups)
    theirs = param_groups_layer_decay(timm.create_model("test_resnet", num_classes=3), layer_decay=0.5)
    scales = sorted({group["lr_scale"] for group in theirs})[: len(theirs) if groups == "all" else groups]
    frozen = sum(p.numel() for group in theirs if group["lr_scale"] in scales for p in group["params"])
    classifier = 0 if groups != "all" else 3 * (backbone.num_features + 1)
    assert sum(p.numel() for p in backbone.parameters() if not p.requires_grad) == frozen - classifier
    for norm in (one for one in backbone.modules() if isinstance(one, nn.BatchNorm2d)):
        assert norm.training == norm.weight.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_frozen_norms_keep_their_statistics_in_every_encoder_and_learn_scales(name):
    config = config_of(name, frozen_norm="statistics")
    with pytest.raises(ConfigError, match="frozen_norm keeps the statistics of trained weights"):
        resolve_config(config)
    method = create_method(config, 2)
    for backbone in backbones_of(method):
        norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms
        assert not any(norm.training for norm in norms)
    before = copy.deepcopy(backbones_of(method))
    carried = 3 if config.method.wants_regions else 0
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for step in range(2):
        batch = random_batch(step, rows=8, views=(2,), sides=(32,), carried=carried, map_sides=(4,))
        output = method.loss(batch)
        output.loss.backward()
        optimizer.step()
        method.after_step(step, output.pending)
    for ours, first in zip(backbones_of(method), before, strict=True):
        old, new = dict(first.named_buffers()), dict(ours.named_buffers())
        assert all(torch.equal(new[key], old[key]) for key in old)
    scale = next(m.weight for m in backbone_of(method).modules() if isinstance(m, nn.BatchNorm2d))
    assert not torch.equal(scale, next(m.weight for m in before[0].modules() if isinstance(m, nn.BatchNorm2d)))


def test_the_average_is_timms_and_that_of_a_loop():
    optim = OptimConfig(ema_decay=0.9)
    config = config_of(optim=optim)
    method = create_method(config, 1)
    backbone = backbone_of(method)
    theirs, loop = ModelEmaV3(backbone, decay=0.9), copy.deepcopy(backbone.state_dict())
    for step in range(4):
        for parameter in backbone.parameters():
            parameter.data += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        backbone(torch.randn(4, 3, 16, 16))  # moves the statistics
        follow_weights(method, optim)
        theirs.update(backbone)
        for name, value in backbone.state_dict().items():
            loop[name] = value.clone() if "num_batches" in name else 0.9 * loop[name] + 0.1 * value
    ours = backbone_of(method, "teacher").state_dict()
    assert not torch.equal(ours["layers.1.running_mean"], backbone.state_dict()["layers.1.running_mean"])
    for name, value in ours.items():
        torch.testing.assert_close(value, loop[name])
        torch.testing.assert_close(value, theirs.module.state_dict()[name])


def test_a_parameter_that_layers_share_is_averaged_once_a_step():
    shared = nn.Linear(4, 4)
    online = nn.Sequential(shared, nn.BatchNorm1d(4), shared)
    mean = momentum_copy(online)
    online[0].weight.data += 1
    before = mean[0].weight.clone()
    average(mean, online, 0.9)
    torch.testing.assert_close(mean[0].weight, 0.9 * before + 0.1 * online[0].weight)
    assert mean[0].weight is mean[2].weight


@pytest.mark.parametrize(("layers", "count"), [("attention", 2), ("attention-mlp", 4)])
def test_merged_updates_are_pefts_and_give_the_same_features(layers, count):
    config = ModelConfig(backbone="test_vit", lora_rank=3, lora_alpha=7.0, lora_layers=layers)
    torch.manual_seed(0)
    backbone = create_backbone(config, 32)
    before, pixels = copy.deepcopy(backbone).eval(), torch.randn(2, 3, 32, 32)
    add_lora(backbone, config, 32)
    assert torch.equal(backbone.eval()(pixels), before(pixels))
    updated = [one for one in backbone.modules() if isinstance(one, PeftLinear)]
    assert len(updated) == count * len(backbone.blocks)
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert len(trained) == 2 * len(updated)
    for parameter in trained:
        nn.init.normal_(parameter, std=0.3)
    plain = create_backbone(ModelConfig(backbone="test_vit"), 32).eval()
    plain.load_state_dict(merged(backbone.state_dict(), config.lora_scale))
    assert (plain(pixels) - before(pixels)).abs().max() > 0.1
    torch.testing.assert_close(plain(pixels), backbone(pixels), rtol=1e-5, atol=1e-5)
    for layer in updated:
        layer.merge()
    for name, value in plain.state_dict().items():
        theirs = dict(backbone.named_parameters())
        torch.testing.assert_close(
            value, theirs.get(name.replace(".weight", ".base_layer.weight"), theirs.get(name, value))
        )


@pytest.mark.parametrize(
    ("backbone", "px", "why"),
    [
        ("small-cnn", 32, "small-cnn has none that could be trained"),
        ("beit_base_patch16_224", 224, r"beit.* computes with the weights of blocks.0.attn.qkv outside of it"),
    ],
)
def test_a_backbone_whose_attention_lora_cannot_reach_is_refused(backbone, px, why):
    config = ModelConfig(backbone=backbone, lora_rank=2)
    with torch.device("meta"):
        made = create_backbone(config, px)
    with pytest.raises(ConfigError, match=why):
        add_lora(made, config, px)


def test_lora_leaves_frozen_layers_alone():
    model = {"backbone": "test_vit", "lora_rank": 2, "freeze": 2}
    names = [
        name for name, p in backbone_of(create_method(config_of(**model), 1)).named_parameters() if p.requires_grad
    ]
    assert names
    assert not any(name.startswith("blocks.0.") for name in names)  # the second group, after the stem


def test_drop_path_rises_over_the_blocks_and_a_momentum_encoder_has_none():
    method = create_method(config_of("moco", backbone="test_vit", drop_path=0.4), 1)
    theirs = timm.create_model("test_vit", drop_path_rate=0.4)
    ours, wanted = (
        [getattr(block.drop_path1, "drop_prob", 0.0) for block in one.blocks] for one in (backbone_of(method), theirs)
    )
    assert ours == wanted
    assert ours[-1] == pytest.approx(0.4)
    pixels = torch.randn(8, 3, 32, 32)
    method.train()
    encoder = method.momentum_encoder.backbone
    assert torch.equal(encoder(pixels), encoder(pixels))
    assert not torch.equal(backbone_of(method)(pixels), backbone_of(method)(pixels))
    with pytest.raises(ConfigError, match=r"drop_path is 0.1; small-cnn has no drop path, leave it out"):
        create_method(config_of(drop_path=0.1), 1)


def test_micro_batches_replay_drop_path():
    """Their gradient is that of the parts encoded in one graph with the same draws, and not that of no drop path."""
    config, batch = config_of(backbone="test_vit", drop_path=0.5), random_batch(sides=(32,))

    def gradients(method: nn.Module) -> list[torch.Tensor]:
        return [p.grad.clone() for p in method.parameters() if p.requires_grad]

    found = []
    for rate in (0.5, 0.0):
        method = create_method(config, 1)
        if rate == 0:
            without_drop_path(method)
        torch.manual_seed(1)
        parts = [method.embed((batch.pixels[0][first : first + 2],), 0)[0] for first in range(0, 6, 2)]
        method.contrast((torch.cat(parts),), (), batch).loss.backward()
        found.append(gradients(method))
    method = create_method(config, 1)
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, _ = set_up(fabric, method, create_optimizer(method, config.optim), config.runtime)
    torch.manual_seed(1)
    backward(fabric, wrapped, batch, 2)
    for ours, wanted in zip(gradients(method), found[0], strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)
    assert not all(torch.allclose(*pair) for pair in zip(*found, strict=True))

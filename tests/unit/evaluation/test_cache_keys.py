"""Every setting of a target changes the names of what is cached of it; what changes no content does not."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from samclr.config.normalisation import Normalisation
from samclr.config.pretrain import ModelConfig
from samclr.models import fingerprints
from samclr.models.backbone import create_backbone
from samclr.models.fingerprints import cache_key, structure_fingerprint, weights_fingerprint

CPU = torch.device("cpu")
BASE = ModelConfig(backbone="resnet18")


def key(model: ModelConfig = BASE, seed: int = 0, device: torch.device = CPU, parts: tuple = ("images", 48)) -> str:
    torch.manual_seed(seed)
    return cache_key(create_backbone(model), device, *parts)


@pytest.mark.parametrize(
    "change",
    [
        {"model": replace(BASE, backbone="resnetblur18")},  # equal weights
        {"model": replace(BASE, backbone="seresnet18")},
        {"model": replace(BASE, stem="conv3x3-stride2")},
        {"model": replace(BASE, mean=(0.485, 0.456, 0.4060001), std=(0.229, 0.224, 0.225))},
        {"model": replace(BASE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.226))},
        {"seed": 1},
        {"device": torch.device("cuda")},
        {"parts": ("images", 64)},
        {"parts": ("other", 48)},
    ],
)
def test_each_setting_alone_changes_the_key(change):
    assert key(**change) != key() == key()


def test_equal_weights_of_two_networks_are_two():
    first, second = (create_backbone(ModelConfig(backbone=name)) for name in ("resnet18", "resnetblur18"))
    second.load_state_dict(first.state_dict())
    assert weights_fingerprint(first) == weights_fingerprint(second)
    assert structure_fingerprint(first) != structure_fingerprint(second)


@pytest.mark.parametrize(
    "options",
    [
        {"global_pool": "avg", "fc_norm": False},
        {"act_layer": "relu"},
        {"num_heads": 6},
        {"qkv_bias": False},
        {"no_embed_class": True},
    ],
)
def test_settings_that_show_in_no_weight_change_the_key(options):
    plain, changed = (
        structure_fingerprint(timm.create_model("vit_tiny_patch16_224", num_classes=0, **more))
        for more in ({}, options)
    )
    assert plain != changed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (nn.MaxPool2d(2), nn.AvgPool2d(2)),
        (nn.MaxPool2d(2), nn.MaxPool2d(3)),
        (nn.BatchNorm2d(4, eps=1e-5), nn.BatchNorm2d(4, eps=1e-3)),
        (nn.Sequential(nn.ReLU(), nn.Sigmoid()), nn.Sequential(nn.Sigmoid(), nn.ReLU())),
        (nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")),
    ],
)
def test_layers_without_weights_count(first, second):
    assert structure_fingerprint(first) != structure_fingerprint(second)


def test_scalars_are_weights_and_counters_are_not():
    module = nn.BatchNorm1d(2)
    module.gain = nn.Parameter(torch.tensor(1.0))
    before = weights_fingerprint(module)
    module.num_batches_tracked += 5
    assert weights_fingerprint(module) == before
    with torch.no_grad():
        module.gain += 1
    assert weights_fingerprint(module) != before


def test_what_changes_no_feature_changes_no_key():
    torch.manual_seed(0)
    backbone = create_backbone(BASE)
    before = cache_key(backbone, CPU)
    backbone(torch.zeros(2, 3, 32, 32)).sum().backward()
    backbone.load_state_dict(create_backbone(BASE).state_dict() | dict(backbone.named_parameters()), strict=False)
    backbone.eval().requires_grad_(False)
    torch.manual_seed(0)
    assert cache_key(create_backbone(BASE).eval(), CPU) == before


@pytest.mark.parametrize("name", ["__version__", "KEY_FORMAT"])
def test_another_version_makes_its_own(name, monkeypatch):
    before = key()
    monkeypatch.setattr(fingerprints, name, "another")
    assert key() != before


def test_a_module_must_say_how_its_input_is_normalised():
    with pytest.raises(Exception, match="Flatten does not say how its input is normalised"):
        cache_key(nn.Flatten(), CPU)
    odd = nn.Flatten()
    odd.normalisation = Normalisation()
    assert cache_key(odd, CPU)

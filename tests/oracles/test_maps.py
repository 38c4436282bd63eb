"""Feature maps for training: the same features and the same map as the two passes they stand for."""

import pytest
import torch
from support.batches import random_batch

from samclr.config.pretrain import ModelConfig
from samclr.errors import ConfigError
from samclr.methods.base import Encoder
from samclr.models.backbone import create_backbone
from samclr.models.maps import feature_map, features_and_map, map_side, map_width, num_stages, pool_regions

BACKBONES = [
    "small-cnn", "resnet18", "convnext_atto", "efficientnet_lite0", "vit_tiny_patch16_224", "test_vit3",
    "swin_tiny_patch4_window7_224",
]  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_one_pass_gives_what_two_give(name):
    torch.manual_seed(0)
    config = ModelConfig(backbone=name)
    backbone, pixels = create_backbone(config, 64).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features, maps = features_and_map(backbone, pixels)
        torch.testing.assert_close(features, backbone(pixels))
        torch.testing.assert_close(maps, feature_map(backbone, pixels, num_stages(backbone) - 1))
    side = map_side(config, 64)
    assert maps.shape == (2, map_width(backbone), side, side)


def test_gradients_flow_to_both_and_batch_norm_sees_the_batch_once():
    backbone = create_backbone(ModelConfig(backbone="resnet18"), 64)
    features, maps = features_and_map(backbone, torch.randn(2, 3, 64, 64))
    (features.sum() + maps.square().sum()).backward()
    assert backbone.bn1.num_batches_tracked == 1
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_regions_are_pooled_as_a_loop_does():
    torch.manual_seed(0)
    maps, shares = torch.randn(3, 5, 4, 4, dtype=torch.float64), torch.rand(3, 2, 4, 4, dtype=torch.float64)
    shares[1, 0] = 0
    pooled = pool_regions(maps, shares)
    for n in range(3):
        for r in range(2):
            weights = shares[n, r] if shares[n, r].sum() else torch.ones(4, 4, dtype=torch.float64)
            expected = sum(weights[y, x] * maps[n, :, y, x] for y in range(4) for x in range(4)) / weights.sum()
            torch.testing.assert_close(pooled[n, r], expected)
    assert pool_regions(maps.half(), shares.half()).dtype == torch.float32


def test_an_encoder_embeds_regions_of_a_batch():
    torch.manual_seed(0)
    batch = random_batch(carried=3)
    encoder = Encoder(create_backbone(ModelConfig(backbone="small-cnn")), torch.nn.Linear(128, 7)).eval()
    found = encoder.regions(batch.pixels[0], batch.shown_shares[0])
    maps = encoder.backbone.layers(batch.pixels[0][4, 1:2])
    torch.testing.assert_close(found[4, 1], encoder.head(pool_regions(maps, batch.shown_shares[0][4, 1:2]))[0])
    part = batch.rows(2, 4)
    assert part.carried.tolist() == batch.carried[2:4].tolist()
    assert part.groups[0].region_shares.shape == (2, 2, 3, 2, 2)
    with pytest.raises(ValueError, match="carry no regions"):
        _ = random_batch().shown_shares


def test_a_backbone_without_maps_is_refused():
    with pytest.raises(ConfigError, match="Linear has no feature maps"):
        map_width(torch.nn.Linear(2, 2))

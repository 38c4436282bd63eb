"""Feature maps: which layers of a backbone a loss of maps alone does not train."""

from dataclasses import replace

import pytest
from support.runs import small_config

from samclr.config.pretrain import ModelConfig
from samclr.methods.create import create_method
from samclr.training.monitor import not_reached_remark

LAYERS_BEHIND = {
    "small-cnn": "",
    "resnet18": "",
    "test_vit": "",
    "test_efficientnet": "conv_head, bn2",
    "mobilenetv3_small_050": "conv_head",
    "convnext_atto": "head",
    "vit_base_patch16_siglip_224": "attn_pool",
}


@pytest.mark.parametrize("backbone", [
    pytest.param(name, marks=pytest.mark.slow if "siglip" in name else ()) for name in LAYERS_BEHIND
])  # fmt: skip
def test_layers_behind_the_map_are_named(backbone, tmp_path):
    config = replace(small_config(tmp_path, recipe="detcon"), model=ModelConfig(backbone=backbone))
    config = replace(config, group=replace(config.group, size_px=64))
    method, layers = create_method(config, 1), LAYERS_BEHIND[backbone]
    assert method.online_encoder.backbone.training
    remark = not_reached_remark(method)
    assert remark is None if not layers else f"of {backbone}, {layers} come after it" in remark


def test_a_loss_of_features_reaches_all_layers_and_what_is_frozen_is_not_named(tmp_path):
    config = replace(small_config(tmp_path, recipe="simclr"), model=ModelConfig(backbone="test_efficientnet"))
    assert create_method(config, 1).not_reached == ()
    config = replace(small_config(tmp_path, recipe="detcon"), model=ModelConfig(backbone="test_efficientnet"))
    config = replace(config, model=replace(config.model, freeze="all"))
    assert create_method(config, 1).not_reached == ()

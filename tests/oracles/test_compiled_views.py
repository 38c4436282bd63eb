"""Compiled encoders take views of several sizes: a ViT's position embeddings are resampled for each."""

from functools import partial

import pytest
import torch
from torch import nn

from samclr.config import ModelConfig
from samclr.methods.base import Encoder
from samclr.models.backbone import create_backbone


@pytest.mark.slow
@pytest.mark.parametrize("keeps_maps", [False, True])
def test_a_compiled_vit_takes_global_and_local_views(monkeypatch, keeps_maps):
    """Without the last stage of the compiler, which takes a minute; what is traced is the same."""
    torch.compiler.reset()
    torch.manual_seed(0)
    encoder = Encoder(create_backbone(ModelConfig(backbone="test_vit"), 64), nn.Identity())
    views = [torch.randn(2, 3, px, px) for px in (64, 32)]
    embed = (lambda one: encoder.features_and_map(one)[1]) if keeps_maps else encoder
    expected = [embed(one) for one in views]
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    encoder.compile_backbone()
    for one, plain in zip(views, expected, strict=True):
        torch.testing.assert_close(embed(one), plain, rtol=1e-4, atol=1e-5)
    torch.compiler.reset()

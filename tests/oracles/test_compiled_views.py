"""Compiled encoders take views of several sizes: a ViT's position embeddings are resampled for each."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from support.scenes import write_labelled
from torch import nn

from samclr.config import ModelConfig
from samclr.methods.base import Encoder
from samclr.models.backbone import create_backbone

SCRIPT = Path(__file__).parents[1] / "support/compiled_runs.py"


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


@pytest.mark.slow
def test_compiled_vits_train_as_others_with_all_that_looks_at_patches(scenes, tmp_path, here):
    """In a process of its own: torch.compile and the tests' checks of shapes clash."""
    assert here("segment", scenes, "--out", tmp_path / "store").returncode == 0
    write_labelled(tmp_path / "labelled")
    path = os.pathsep.join(filter(None, (str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path],
        capture_output=True, text=True, timeout=900, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 5
    for name, one in found.items():
        assert one["gap"] < 1e-4, name
        assert one["graphs"] > 0, name
    assert found["local, measured"]["graphs"] == found["local"]["graphs"]  # what is measured is not compiled

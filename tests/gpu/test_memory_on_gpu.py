"""The memory of a step, estimated before it is tried, against what CUDA's allocator counts."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from support.runs import small_config

from samclr.training.memory import measure_memory
from samclr.training.pace import measure_pace

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("backbone", ["resnet18", "vit_tiny_patch16_224"])
def test_a_step_takes_no_more_than_was_estimated(scenes, backbone, precision):
    config = small_config(scenes, recipe="simclr")
    config = replace(
        config,
        model=replace(config.model, backbone=backbone),
        group=replace(config.group, size_px=64),
        optim=replace(config.optim, global_batch_size=512),
    )
    fabric = Fabric(accelerator="cuda", devices=1, precision=precision)
    estimated = measure_memory(fabric, config).of(512)
    taken = measure_pace(fabric, config).memory_bytes
    assert 0.4 * estimated < taken < estimated

"""In-context segmentation, linear segmentation and overclustering on a CUDA device find what they find on the CPU."""

from dataclasses import replace

import pytest
import torch
from support.scenes import write_shapes

from samclr.config import EvaluationConfig, InContextConfig, IntervalConfig, OverclusterConfig, SegmentLinearConfig
from samclr.config.pretrain import ModelConfig
from samclr.config.registry import PROTOCOLS, resolve
from samclr.evaluation.inputs import open_dense_set
from samclr.evaluation.protocols.base import DenseTask
from samclr.models.backbone import create_backbone

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize(
    "config",
    [
        InContextConfig(in_context=True, in_context_px=48, in_context_memory=(40, 200)),
        SegmentLinearConfig(segment_linear=True, segment_px=48, segment_epochs=3, segment_lr=100.0),
        OverclusterConfig(overcluster=(3, 9), overcluster_px=48),
    ],
)
def test_scores_are_near_those_of_the_cpu(tmp_path, config):
    torch.manual_seed(0)
    shapes = open_dense_set(write_shapes(tmp_path / "shapes", num_train=8, num_test=8))
    task = DenseTask(
        backbone=create_backbone(ModelConfig(backbone="small-cnn")).eval(),
        config=EvaluationConfig(interval=IntervalConfig(bootstrap=100)),
        device=torch.device("cpu"),
        cache=tmp_path / "cache",
        scenes=shapes,
    )
    protocol = resolve(PROTOCOLS[config.name].build)(config)
    found = [protocol.measure(replace(task, device=torch.device(name))) for name in ("cpu", "cuda")]
    for on_cpu, on_gpu in zip(*found, strict=True):
        assert on_gpu.scores["miou"].value == pytest.approx(on_cpu.scores["miou"].value, abs=0.05)
        assert on_gpu.counts == on_cpu.counts

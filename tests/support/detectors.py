"""Small detectors for tests, and what several ranks compute of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from samclr.config.pretrain import ModelConfig
from samclr.evaluation.detection import model
from samclr.evaluation.detection.batches import TrainingBatches
from samclr.evaluation.detection.instances import InstanceSet
from samclr.evaluation.detection.model import begin_training
from samclr.evaluation.detection.ranks import share_buffers
from samclr.evaluation.detection.training import Work, find, make_optimizer, train_step
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.models.backbone import create_backbone

SMALL: dict[str, Any] = {"detect_px": 64, "detect_batch_size": 4, "detect_boxes": 32, "detect_lr": 0.08}


@contextmanager
def small_heads() -> Iterator[None]:
    """Heads of 32 channels instead of 256: seconds instead of minutes."""
    before = model.WIDTH, model.BOX_WIDTH
    model.WIDTH, model.BOX_WIDTH = 32, 64
    try:
        yield
    finally:
        model.WIDTH, model.BOX_WIDTH = before


def small_backbone(seed: int = 0, name: str = "small-cnn") -> torch.nn.Module:
    torch.manual_seed(seed)
    return create_backbone(ModelConfig(backbone=name), 64).eval()


class OneStep(Work):
    """Each rank's gradients of one step, and what the ranks find together after it; the first rank saves both."""

    def __init__(self, instances: InstanceSet, config: DetectionConfig, out: Path):
        super().__init__(small_backbone(), instances, config, out, out)

    def _run(self, fabric: Fabric) -> bool:
        torch.set_num_threads(1)
        with small_heads():
            found = self.after_one_step(fabric, fabric.global_rank, fabric.world_size)
        if fabric.is_global_zero:
            torch.save(found, self.state_file)
        return False

    def after_one_step(self, fabric: Any, rank: int, ranks: int) -> dict[str, Any]:
        detector = self._detector(fabric)
        begin_training(detector, self.config)
        wrapped, optimizer = fabric.setup(detector, make_optimizer(detector, self.config))
        batches = TrainingBatches(self.instances.train, self.config.detect_batch_size, 0, rank, ranks)
        train_step(_AsRank(fabric, rank), wrapped, optimizer, next(batches.from_step(0, 1)), 0, self.config)
        gradients = {name: one.grad.clone() for name, one in detector.named_parameters() if one.grad is not None}
        share_buffers(detector)
        return {
            "gradients": gradients,
            "detector": detector.state_dict(),
            "found": find(fabric, detector, self.instances.val),
        }


class _AsRank:
    """A Fabric that says it is of another rank."""

    def __init__(self, fabric: Fabric, rank: int):
        self._fabric, self.global_rank = fabric, rank

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fabric, name)

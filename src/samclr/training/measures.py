"""What a run is measured by while it trains: by its first rank alone, for which the others wait."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from samclr.config.pretrain import PretrainConfig
from samclr.training.before_after import Comparison, is_compared, measured_every
from samclr.training.first_rank import FirstRank
from samclr.views.data import TrainingData


class Measures:
    """kNN and a linear probe for metrics.jsonl, and the comparison of before and after. All ranks call all of it."""

    def __init__(self, fabric: Fabric, config: PretrainConfig, run: Path, data: TrainingData, num_steps: int):
        """Raises EvaluationError and ScenesError as OnlineProbes and Comparison do."""
        self._num_steps, self._probes, self._comparison = num_steps, None, None
        epoch_steps = max(data.bank.num_images // config.optim.global_batch_size, 1)
        self._probes_every = config.runtime.knn_every * epoch_steps if config.runtime.knn_on is not None else None
        self._compared_every = measured_every(config, num_steps) if is_compared(config, data) else None
        self._first = FirstRank(fabric, waits_long=self._compared_every is not None or self._probes_every is not None)
        with self._first.alone() as is_here:
            if is_here and config.runtime.knn_on is not None:
                from samclr.evaluation.online import OnlineProbes

                self._probes = OnlineProbes(config.runtime.knn_on, config.evaluation, config.knn, fabric.device)
            if is_here and self._compared_every is not None:
                self._comparison = Comparison(config, run, data, num_steps, fabric.device)

    def begin(self, backbone: nn.Module, first_step: int) -> None:
        """Before the first step of a run or of a resumption. Raises as Comparison.begin."""
        if self._compared_every is not None:
            with self._first.alone(), _uncompiled():
                if self._comparison is not None:
                    self._comparison.begin(backbone, first_step)

    def row(self, steps_done: int, backbone: nn.Module) -> dict[str, float]:
        """What metrics.jsonl has of a step, where it is time: on the first rank."""
        if not self._is_due(steps_done, self._probes_every):
            return {}
        with self._first.alone(), _uncompiled():
            return {} if self._probes is None else self._probes.measure(backbone)

    def after(self, steps_done: int, backbone: nn.Module) -> None:
        """After a step."""
        if self._is_due(steps_done, self._compared_every):
            with self._first.alone(), _uncompiled():
                if self._comparison is not None:
                    self._comparison.after(steps_done, backbone)

    def finish(self) -> None:
        """After the last checkpoint."""
        if self._compared_every is not None:
            with self._first.alone():
                if self._comparison is not None:
                    self._comparison.finish()

    def _is_due(self, steps_done: int, every: int | None) -> bool:
        """Alike on all ranks."""
        return every is not None and (steps_done % every == 0 or steps_done == self._num_steps)


def _uncompiled() -> AbstractContextManager[Any]:
    """A compiled backbone is measured as it is written: images come in sizes and numbers that training has not."""
    return torch.compiler.set_stance("force_eager")

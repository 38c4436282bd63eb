"""The linear probe on cached features. Safe to interrupt: rerun to resume."""

from pathlib import Path
from typing import Any

from samclr.evaluation.linear import held_out, linear_probe
from samclr.evaluation.protocols.answers import trained
from samclr.evaluation.protocols.base import LabelledProtocol, LabelledTask, Outcome
from samclr.evaluation.protocols.linear_spec import ProbeConfig
from samclr.evaluation.squares import SQUARE
from samclr.models.fingerprints import cache_key


class Linear(LabelledProtocol[ProbeConfig]):
    """A softmax layer on all of the training split."""

    def check(self, task: LabelledTask) -> None:
        """The sweep has labels enough to hold some out."""
        if self.config.probe_sweep:
            held_out(task.labelled.train.labels, self.config.probe_seed)

    def measure(self, task: LabelledTask) -> list[Outcome]:
        """One outcome."""
        (train, test), (labels, test_labels) = task.features, task.labels
        state = probe_state(task, self.config.name, self.config.settings())
        result = linear_probe(
            train, labels, test, test_labels, len(task.labelled.classes), self.config, state_file=state
        )
        return [trained(task, result, chosen={"lr": result.lr})]


def probe_state(task: LabelledTask, kind: str, settings: dict[str, Any]) -> Path:
    """Where it is kept how far a probe on cached features is."""
    images = [*task.fingerprints, len(task.labelled.classes), task.config.data.image_px, SQUARE]
    return task.cache / "probes" / f"{kind}-{cache_key(task.backbone, task.device, kind, *images, settings)}.pt"


def build(config: ProbeConfig) -> Linear:
    """See ProtocolSpec.build."""
    return Linear(config)

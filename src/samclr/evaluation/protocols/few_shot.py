"""Few labels: a class-balanced, seeded part of a training split."""

import numpy as np
from jaxtyping import Int

from samclr.draws import epoch_order
from samclr.errors import EvaluationError
from samclr.evaluation.linear import held_out, linear_probe
from samclr.evaluation.protocols.answers import trained
from samclr.evaluation.protocols.base import LabelledProtocol, LabelledTask, Outcome
from samclr.evaluation.protocols.few_shot_spec import FewShotConfig, share_name
from samclr.evaluation.protocols.linear import probe_state
from samclr.evaluation.protocols.linear_spec import ProbeConfig
from samclr.log import option_of


def few_rows(labels: Int[np.ndarray, "n"], num_classes: int, share: float, seed: int) -> Int[np.ndarray, "few"]:
    """Rows of `share` of the labels, as many of each class, at least one; a smaller share is part of a larger one.

    Raises:
        EvaluationError: a class has fewer images than its part.
    """
    each = max(round(share * len(labels) / num_classes), 1)
    chosen = []
    for number in range(num_classes):
        rows = np.flatnonzero(labels == number)
        if len(rows) < each:
            raise EvaluationError(
                f"{100 * share:g}% of {len(labels)} labels are {each} of each class, but class {number} has "
                f"{len(rows)}; take a smaller {option_of('few_shot')}, or more training images "
                f"({option_of('num_train')})"
            )
        chosen.append(rows[epoch_order(seed, number, len(rows))[:each]])
    return np.sort(np.concatenate(chosen))


class FewShot(LabelledProtocol[FewShotConfig]):
    """The linear probe, with its settings, on a part of the training split."""

    def check(self, task: LabelledTask) -> None:
        """Every class has images enough for its part, and the probe's sweep for holding some out."""
        probe = _probe(task)
        for share in self.config.few_shot:
            rows = self._rows(task, share)
            if probe.probe_sweep:
                held_out(task.labelled.train.labels[rows], probe.probe_seed)

    def measure(self, task: LabelledTask) -> list[Outcome]:
        """An outcome for each share."""
        (train, test), (labels, test_labels) = task.features, task.labels
        probe = _probe(task)
        found = []
        for share in self.config.few_shot:
            rows = self._rows(task, share)
            own = {"few_shot": [share], "few_shot_seed": self.config.few_shot_seed}
            settings = {name: value for name, value in probe.settings().items() if name != "skip_linear"} | own
            result = linear_probe(
                train, labels, test, test_labels, len(task.labelled.classes), probe, rows,
                probe_state(task, self.config.name, settings),
            )  # fmt: skip
            variant, counts = share_name(share), {"num_labels": len(rows)}
            more = {"variant": variant, "settings": settings, "counts": counts, "chosen": {"lr": result.lr}}
            found.append(trained(task, result, **more))
        return found

    def _rows(self, task: LabelledTask, share: float) -> Int[np.ndarray, "few"]:
        labelled = task.labelled
        return few_rows(labelled.train.labels, len(labelled.classes), share, self.config.few_shot_seed)


def _probe(task: LabelledTask) -> ProbeConfig:
    probe = task.config.of("linear")
    assert isinstance(probe, ProbeConfig)
    return probe


def build(config: FewShotConfig) -> FewShot:
    """See ProtocolSpec.build."""
    return FewShot(config)

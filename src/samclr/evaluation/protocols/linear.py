"""The linear probe on cached features."""

from samclr.evaluation.linear import held_out, linear_probe
from samclr.evaluation.protocols.answers import trained
from samclr.evaluation.protocols.base import LabelledProtocol, LabelledTask, Outcome
from samclr.evaluation.protocols.linear_spec import ProbeConfig


class Linear(LabelledProtocol[ProbeConfig]):
    """A softmax layer on all of the training split."""

    def check(self, task: LabelledTask) -> None:
        """The sweep has labels enough to hold some out."""
        if self.config.probe_sweep:
            held_out(task.labelled.train.labels, self.config.probe_seed)

    def measure(self, task: LabelledTask) -> list[Outcome]:
        """One outcome."""
        (train, test), (labels, test_labels) = task.features, task.labels
        result = linear_probe(train, labels, test, test_labels, len(task.labelled.classes), self.config)
        return [trained(task, result, chosen={"lr": result.lr})]


def build(config: ProbeConfig) -> Linear:
    """See ProtocolSpec.build."""
    return Linear(config)

"""The nearest class mean on frozen features."""

import torch
import torch.nn.functional as F

from samclr.evaluation.protocols.base import LabelledProtocol, LabelledTask, Outcome
from samclr.runs.results import Score
from samclr_example.class_mean_spec import ClassMeanConfig


class ClassMean(LabelledProtocol[ClassMeanConfig]):
    """A test image has the class whose mean is most like it."""

    def measure(self, task: LabelledTask) -> list[Outcome]:
        """The share of test images whose class is right."""
        (train, test), (labels, test_labels) = task.features, task.labels
        most, classes = self.config.mean_most, range(len(task.labelled.classes))
        means = torch.stack([F.normalize(train[labels == number][:most], dim=-1).mean(0) for number in classes])
        right = (F.normalize(test, dim=-1) @ means.T).argmax(1) == test_labels
        return [Outcome(scores={"top1": Score(value=right.double().mean().item(), n=len(right))})]


def build(config: ClassMeanConfig) -> ClassMean:
    """See ProtocolSpec.build."""
    return ClassMean(config)
